//! Who gets what, when each may have some and no two the same.

/// Gives as many of `takers` as possible one of `things` each: a maximum matching by augmenting paths, in which a taker
/// that has something keeps having one. The answer says, taker by taker, which; `meets` whether a taker may have a thing.
/// Earlier takers and earlier things come first, where they can.
pub fn matching(
    takers: usize,
    things: usize,
    meets: impl Fn(usize, usize) -> bool,
) -> Vec<Option<usize>> {
    let mut matching = Matching { meets: &meets, owners: vec![None; things] };
    for taker in 0..takers {
        matching.take(taker, &mut vec![false; things]);
    }
    let mut taken = vec![None; takers];
    for (thing, owner) in matching.owners.iter().enumerate() {
        if let Some(owner) = *owner {
            taken[owner] = Some(thing);
        }
    }
    taken
}

struct Matching<'m> {
    meets: &'m dyn Fn(usize, usize) -> bool,
    owners: Vec<Option<usize>>,
}

impl Matching<'_> {
    /// As deep as there are takers.
    fn take(&mut self, taker: usize, tried: &mut [bool]) -> bool {
        let fitting: Vec<usize> =
            (0..self.owners.len()).filter(|thing| (self.meets)(taker, *thing)).collect();
        if let Some(thing) = fitting.iter().copied().find(|thing| self.owners[*thing].is_none()) {
            self.owners[thing] = Some(taker);
            return true;
        }
        for thing in fitting {
            if std::mem::replace(&mut tried[thing], true) {
                continue;
            }
            if self.owners[thing].is_some_and(|owner| self.take(owner, tried)) {
                self.owners[thing] = Some(taker);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_first_makes_room_for_who_has_no_choice() {
        for (wishes, expected) in [
            (&["abc", "abc", "abc"][..], &[Some(0), Some(1), Some(2)][..]),
            (&["ab", "a"], &[Some(1), Some(0)]),
            (&["ab", "bc", "b"], &[Some(0), Some(2), Some(1)]),
            (&["a", "a", "b"], &[Some(0), None, Some(1)]),
            (&["", "c"], &[None, Some(2)]),
        ] {
            let meets = |taker: usize, thing: usize| wishes[taker].contains(["a", "b", "c"][thing]);
            assert_eq!(matching(wishes.len(), 3, meets), expected, "{wishes:?}");
        }
    }
}
