# Helpers for the scripts in ci/ and cross/. Source it; it defines functions only.
# shellcheck shell=bash

cache_dir="${XDG_CACHE_HOME:-$HOME/.cache}/pumice"

say() { printf '%s\n' "$*" >&2; }
die() {
    say "${0##*/}: $*"
    exit 1
}

need() {
    local tool
    for tool; do
        command -v "$tool" >/dev/null || die "'$tool' is missing; run ci/setup"
    done
}

# retry N COMMAND...: package indexes and mirrors are at times in mid-update.
retry() {
    local left=$1 pause=2
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep "$pause"
        pause=$((pause * 2))
    done
}

# A short key of a recipe: whatever is written to it on standard input.
recipe_key() { sha256sum | cut -c1-16; }

human() { numfmt --to=iec-i --suffix=B --format='%.1f' "$1"; }

# on_disk FILE: bytes that a sparse file really takes.
on_disk() { du -B1 "$1" | cut -f1; }

# piece DIR LABEL KEY BUILDER ARGS...: makes DIR/LABEL-KEY by running BUILDER ARGS... with the new folder's path as last
# argument, unless it exists, and leaves its path in $piece. A folder with that name is complete, because it is renamed into place.
piece() {
    local dir=$1 label=$2 key=$3 tmp lock
    shift 3
    piece=$dir/$label-$key
    if [ -d "$piece" ]; then
        touch "$piece"
        return
    fi
    mkdir -p "$dir"
    exec {lock}>"$dir/.$label-$key.lock"
    flock "$lock"
    if [ ! -d "$piece" ]; then
        say "making $label ($key)"
        tmp=$(mktemp -d "$dir/.$label-$key.XXXXXX")
        chmod 755 "$tmp"
        # No `if` or `||` around this: they would switch off set -e inside.
        ("$@" "$tmp")
        mv -T "$tmp" "$piece"
    fi
    exec {lock}>&-
}

# prune_pieces DIR LABEL KEEP: removes all but the newest KEEP pieces, and what interrupted runs left behind a day ago.
prune_pieces() {
    local dir=$1 label=$2 keep=$3 old
    find "$dir" -maxdepth 1 -type d -name ".$label-????????????????.*" -mtime +0 -exec rm -rf {} +
    while read -r old; do
        rm -rf "$old"
    done < <(find "$dir" -maxdepth 1 -type d -name "$label-????????????????" -printf '%T@ %p\n' | sort -rn | tail -n "+$((keep + 1))" | cut -d' ' -f2-)
}

# debian_sources: the Debian archives that this machine's apt uses, as one-line entries.
debian_sources() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed=''
    [ ! -e "$keyring" ] || signed="[signed-by=$keyring] "
    # shellcheck disable=SC2016 # the $() are apt's
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        grep -E '/debian(-security)?/? ' | grep -E ' main$' | sort -u | sed "s|^|deb $signed|"
}

# foreign_apt ARCH COMMAND...: apt for another architecture with lists and package state of its own, so that the host's dpkg
# need not know the architecture and no root is needed.
foreign_apt() {
    local arch=$1 tool=$2 state
    shift 2
    state=$cache_dir/apt/$arch
    "$tool" -q -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o APT::Sandbox::User='' \
        -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State="$state/state" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" \
        -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

foreign_update() {
    local arch=$1 state=$cache_dir/apt/$1
    mkdir -p "$state/state/lists/partial" "$state/cache/archives/partial"
    : >>"$state/status"
    debian_sources >"$state/sources.list"
    [ -s "$state/sources.list" ] || die "apt knows no Debian archive: expected a 'deb …/debian bookworm main' source"
    say "updating the Debian $arch package lists"
    retry 2 foreign_apt "$arch" apt-get update >"$state/update.log" 2>&1
}

# One archive's index with a wrong size fails the whole update though all others are fine: let the download decide.
update_tolerant() {
    foreign_update "$1" || say "the $1 package lists are incomplete ($cache_dir/apt/$1/update.log); trying with what there is"
}

# fetch_debs ARCH DIR PACKAGE...: the newest .deb of each package, into DIR. "A>B" names the package that A depends on and whose
# name starts with B, for meta packages.
fetch_debs() {
    local arch=$1 dir=$2 lock
    shift 2
    mkdir -p "$cache_dir/apt/$arch" "$dir"
    exec {lock}>"$cache_dir/apt/$arch/lock"
    flock "$lock"
    # Several pieces in a row need not update anew.
    if [ -z "$(find "$cache_dir/apt/$arch/update.log" -mmin -30 2>/dev/null)" ]; then
        update_tolerant "$arch"
    fi
    download_debs "$arch" "$dir" "$@" || {
        sleep 5
        update_tolerant "$arch"
        download_debs "$arch" "$dir" "$@" || die "cannot download $* for $arch; see $cache_dir/apt/$arch/download.log and run it again later"
    }
    exec {lock}>&-
}

download_debs() {
    local arch=$1 dir=$2 name names=()
    shift 2
    for name; do
        case $name in
            *\>*) name=$(foreign_apt "$arch" apt-cache depends "${name%>*}" | sed -n "s/^ *Depends: \(${name#*>}.*\)/\1/p" | head -n 1) ;;
        esac
        [ -n "$name" ] || return 1
        names+=("$name")
    done
    (cd "$dir" && retry 3 foreign_apt "$arch" apt-get download "${names[@]}" >"$cache_dir/apt/$arch/download.log" 2>&1)
}
