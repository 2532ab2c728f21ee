//! Who may do what, under which names, and from which pages.

use jiff::Timestamp;

use super::testbed::{Bed, PAGE, options};
use crate::io::test_folder::TestFolder;
use crate::serve::control::Control;
use crate::serve::feed::Feed;
use crate::serve::history::memory::Memory;
use crate::serve::http::{Options, start};
use crate::store::tokens::{Role, Tokens, random};

/// Tokens of a viewer, a submitter and an admin.
fn with_tokens(options: &mut Options) -> [String; 3] {
    let mut tokens = Tokens::default();
    let made = [("eva", Role::Viewer), ("anna", Role::Submitter), ("root", Role::Admin)];
    let made = made.map(|(name, role)| {
        tokens.add(name, role, Timestamp::UNIX_EPOCH, random().unwrap()).unwrap()
    });
    tokens.save(&options.store).unwrap();
    options.tokens_required = true;
    made
}

fn ask(bed: &Bed, method: &str, path: &str, headers: &str, body: &str) -> super::testbed::Answer {
    bed.ask(format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    ))
}

const JSON: &str = "Host: localhost\r\nContent-Type: application/json\r\n";

#[test]
fn only_a_lab_that_nobody_else_reaches_starts_without_tokens() {
    let folder = TestFolder::new();
    let start = |change: fn(&mut Options)| {
        let mut options = options(folder.path());
        change(&mut options);
        let (sender, _) = std::sync::mpsc::sync_channel(1);
        let control = Control::new(sender, std::sync::Arc::new(|| {}));
        start(options, control, Feed::default(), std::sync::Arc::<Memory>::default())
    };
    let error = start(|options| options.listen = ([0, 0, 0, 0], 0).into()).unwrap_err().to_string();
    assert!(error.contains("0.0.0.0:0 can be reached from other hosts"), "{error}");
    assert!(error.contains("pumice token add NAME --role admin"), "{error}");
    assert!(start(|options| options.tokens_required = true).is_err());
    let server = start(|_| {}).unwrap();
    let taken = std::net::TcpStream::connect(server.address());
    assert!(taken.is_ok());
    server.stop();
}

#[test]
fn who_sits_at_this_host_needs_nothing() {
    let bed = Bed::new();
    assert_eq!(bed.json("/api/v1/me")["name"], "local");
    let me = ask(&bed, "GET", "/api/v1/me", "Host: 127.0.0.1:80\r\nX-Pumice-User: anna\r\n", "");
    assert_eq!(
        (me.json()["name"].as_str(), me.json()["role"].as_str()),
        (Some("anna"), Some("admin"))
    );
    let bad = ask(&bed, "GET", "/api/v1/me", "Host: localhost\r\nX-Pumice-User: a b\r\n", "");
    assert_eq!(bad.status, 400);
    // A proxy without tokens would let everybody in.
    for header in ["X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1", "X-Real-IP: 10.0.0.1"] {
        let answer =
            ask(&bed, "GET", "/api/v1/lab", &format!("Host: localhost\r\n{header}\r\n"), "");
        assert_eq!(answer.status, 403);
        assert!(answer.error().contains("--tokens"), "{}", answer.error());
    }
}

#[test]
fn only_names_of_the_lab_are_served() {
    let bed = Bed::new();
    for (host, status) in [
        ("Host: localhost", 200),
        ("Host: LOCALHOST:8080", 200),
        ("Host: 127.0.0.1", 200),
        ("Host: [::1]:8080", 200),
        ("Host: lab.example.org", 200),
        ("Host: evil.example.org", 421),
        ("Host: localhost.evil.example.org", 421),
        ("Host: lab.example.org.evil", 421),
        ("Host: ", 421),
        ("Host: localhost\r\nHost: evil.example.org", 400),
        ("X-Host: localhost", 400),
    ] {
        let answer = ask(&bed, "GET", "/api/v1/lab", &format!("{host}\r\n"), "");
        assert_eq!(answer.status, status, "{host}: {}", answer.text());
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[test]
fn pages_of_other_sites_change_nothing() {
    let bed = Bed::new();
    let cancel = "/api/v1/jobs/1/cancel";
    for (headers, status) in [
        ("Origin: http://localhost\r\n", 200),
        ("Origin: https://localhost\r\nSec-Fetch-Site: same-origin\r\n", 200),
        ("Origin: http://evil.example.org\r\n", 403),
        ("Origin: http://localhost:1\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin: \r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Origin: http://localhost\r\nOrigin: http://evil.example.org\r\n", 403),
    ] {
        let answer = ask(&bed, "POST", cancel, &format!("{JSON}{headers}"), "{}");
        assert_eq!(answer.status, status, "{headers}: {}", answer.text());
    }
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let headers = format!("Host: localhost\r\nContent-Type: {media_type}\r\n");
        assert_eq!(ask(&bed, "POST", cancel, &headers, "{}").status, 415);
    }
    assert_eq!(ask(&bed, "POST", cancel, "Host: localhost\r\n", "{}").status, 415);
    // Nothing holds a browser back from opening a WebSocket but this.
    let console = "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
        Origin: http://evil.example.org\r\n";
    let request =
        format!("GET /api/v1/boards/bbb-01/console HTTP/1.1\r\n{console}Connection: close\r\n\r\n");
    assert_eq!(bed.ask(request).status, 403);
    assert_eq!(bed.get("/api/v1/lab").header("access-control-allow-origin"), "");
}

#[test]
fn the_page_is_fenced_in() {
    let bed = Bed::new();
    let page = bed.get("/");
    assert_eq!((page.status, page.body.as_slice()), (200, PAGE[0].bytes));
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"));
    assert_eq!(page.header("x-frame-options"), "DENY");
    let tag = page.header("etag").to_owned();
    let again = ask(&bed, "GET", "/", &format!("Host: localhost\r\nIf-None-Match: {tag}\r\n"), "");
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(bed.get("/static/page.js").header("content-type"), "text/javascript");
    for path in
        ["/static/none", "/static/../page.js", "/static/%2e%2e%2fpage.js", "/static/", "/none"]
    {
        assert_eq!(bed.get(path).status, 404, "{path}");
    }
    assert_eq!(bed.get("/api/v1/lab").header("cache-control"), "no-store");
}

#[test]
fn roles() {
    let mut made = Default::default();
    let bed = Bed::with(|options| made = with_tokens(options));
    let [viewer, submitter, admin] = made;
    let bearer = |token: &str| format!("{JSON}Authorization: Bearer {token}\r\n");
    let none = JSON.to_owned();
    let all = [none, bearer(&viewer), bearer(&submitter), bearer(&admin), bearer("pumice_0")];
    for (method, path, body, statuses) in [
        ("GET", "/", "", [200, 200, 200, 200, 401]),
        ("GET", "/api/v1/lab", "", [401, 200, 200, 200, 401]),
        ("GET", "/metrics", "", [401, 200, 200, 200, 401]),
        ("POST", "/api/v1/boards/bbb-01/acquire", "{}", [401, 403, 200, 200, 401]),
        ("POST", "/api/v1/boards/bbb-01/release", r#"{"force": true}"#, [401, 403, 403, 200, 401]),
        (
            "POST",
            "/api/v1/boards/bbb-01/health",
            r#"{"health": "maintenance", "reason": "new cable"}"#,
            [401, 403, 403, 200, 401],
        ),
        // Anna's own job, and one of another.
        ("POST", "/api/v1/jobs/1/cancel", "{}", [401, 403, 200, 200, 401]),
        ("POST", "/api/v1/jobs/9/cancel", "{}", [401, 403, 403, 200, 401]),
        ("POST", "/api/v1/reload", "{}", [401, 403, 403, 200, 401]),
    ] {
        bed.history.jobs.lock().unwrap().push((super::testbed::job(9, "otto"), String::new()));
        for (headers, status) in all.iter().zip(statuses) {
            let answer = ask(&bed, method, path, headers, body);
            assert_eq!(answer.status, status, "{path} {headers}: {}", answer.text());
        }
    }
    let challenge = ask(&bed, "GET", "/api/v1/lab", JSON, "");
    assert_eq!(challenge.header("www-authenticate"), "Bearer");
    // What a client calls itself matters only where nobody needs a token.
    let named = format!("{}X-Pumice-User: root\r\n", bearer(&viewer));
    assert_eq!(ask(&bed, "GET", "/api/v1/me", &named, "").json()["name"], "eva");
}

#[test]
fn the_page_logs_in() {
    let mut made = Default::default();
    let bed = Bed::with(|options| made = with_tokens(options));
    let login = |token: &str| {
        ask(&bed, "POST", "/api/v1/login", JSON, &format!("{{\"token\": \"{token}\"}}"))
    };
    assert_eq!(login("pumice_x").status, 401);
    let answer = login(&made[1]);
    assert_eq!((answer.status, answer.json()["role"].as_str()), (200, Some("submitter")));
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict; Path=/"), "{cookie}");
    let session = cookie.split(';').next().unwrap();
    let with = |path: &str, method: &str| {
        let headers = format!("{JSON}Cookie: theme=dark; {session}\r\n");
        ask(&bed, method, path, &headers, if method == "POST" { "{}" } else { "" })
    };
    assert_eq!(with("/api/v1/me", "GET").json()["name"], "anna");
    assert_eq!(with("/api/v1/logout", "POST").status, 200);
    assert_eq!(with("/api/v1/me", "GET").status, 401);
    // A token that is taken back ends its sessions, within a second.
    let answer = login(&made[1]);
    let session = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    let store = bed.path("store");
    let mut tokens = Tokens::load(&store).unwrap();
    tokens.remove("anna");
    tokens.save(&store).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let headers = format!("{JSON}Cookie: {session}\r\n");
    assert_eq!(ask(&bed, "GET", "/api/v1/me", &headers, "").status, 401);
    assert_eq!(login(&made[1]).status, 401);
    let tls = ask(
        &bed,
        "POST",
        "/api/v1/login",
        &format!("{JSON}X-Forwarded-Proto: https\r\n"),
        &format!("{{\"token\": \"{}\"}}", made[0]),
    );
    assert!(tls.header("set-cookie").ends_with("; Secure"));
}
