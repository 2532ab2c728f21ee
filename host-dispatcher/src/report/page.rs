//! The files of the web page, as they stand in the program.
//!
//! The same modules show the lab of `pumice serve` and the one run of `pumice report`: `main.js` begins the one,
//! `report_main.js` the other.

/// A file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its name, which is its address below `/static/`; `index.html` stands at `/`.
    pub name: &'static str,
    /// Its media type, for `Content-Type`.
    pub media_type: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

impl Asset {
    /// Its content as text, which all of them are.
    pub fn text(&self) -> &'static str {
        str::from_utf8(self.bytes).unwrap_or_default()
    }
}

/// The file of a name.
pub fn asset(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

macro_rules! assets {
    ($($name:literal $media_type:expr;)*) => {
        [$(Asset { name: $name, media_type: $media_type, bytes: include_bytes!(concat!("../../web/", $name)) }),*]
    };
}

/// Every file of the page.
pub const ASSETS: &[Asset] = &assets![
    "index.html" HTML;
    "page.css" CSS;
    "icon.svg" SVG;
    "api.js" JAVASCRIPT;
    "board.js" JAVASCRIPT;
    "dom.js" JAVASCRIPT;
    "embedded.js" JAVASCRIPT;
    "filter.js" JAVASCRIPT;
    "filter_bar.js" JAVASCRIPT;
    "frame.js" JAVASCRIPT;
    "job_table.js" JAVASCRIPT;
    "jobs.js" JAVASCRIPT;
    "lab.js" JAVASCRIPT;
    "log.js" JAVASCRIPT;
    "login.js" JAVASCRIPT;
    "main.js" JAVASCRIPT;
    "pages.js" JAVASCRIPT;
    "report_main.js" JAVASCRIPT;
    "results.js" JAVASCRIPT;
    "router.js" JAVASCRIPT;
    "run.js" JAVASCRIPT;
    "runs.js" JAVASCRIPT;
    "scroll.js" JAVASCRIPT;
    "server.js" JAVASCRIPT;
    "terminal.js" JAVASCRIPT;
    "timeline.js" JAVASCRIPT;
    "words.js" JAVASCRIPT;
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_in_the_table() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let mut files: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut names: Vec<&str> = ASSETS.iter().map(|asset| asset.name).collect();
        files.sort();
        names.sort_unstable();
        assert_eq!(names, files);
        assert!(asset("main.js").is_some() && asset("../Cargo.toml").is_none());
    }

    /// What a board sent becomes text nodes only; scripts and styles stand in files of their own.
    #[test]
    fn nothing_makes_markup_of_text() {
        const FORBIDDEN: [&str; 13] = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "setHTML",
            "createContextualFragment",
            "DOMParser",
            "document.write",
            "srcdoc",
            "eval(",
            "new Function",
            "javascript:",
            "style=\"",
            "{ style:",
        ];
        for asset in ASSETS {
            for word in FORBIDDEN {
                assert!(!asset.text().contains(word), "{word} stands in {}", asset.name);
            }
            assert!(!asset.text().is_empty(), "{} is no text", asset.name);
            let is_foreign =
                |(at, _): (usize, &str)| !asset.text()[at..].starts_with("://www.w3.org/2000/svg");
            assert!(!asset.text().match_indices("://").any(is_foreign), "{}", asset.name);
        }
    }
}
