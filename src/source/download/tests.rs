//! What a download survives, against a server of a few lines that speaks from a script.

use super::*;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread::JoinHandle;

/// Answers one connection after the other; each answer gets the head of the request. Ends with the last answer.
type Answer = Box<dyn FnOnce(&str, &mut TcpStream) + Send>;

struct Server {
    url: String,
    thread: JoinHandle<Vec<String>>,
}

fn serve(answers: Vec<Answer>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file.tar", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let one = |answer: Answer| {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(|l| l.ok());
            let head = lines.take_while(|l| !l.is_empty()).collect::<Vec<_>>().join("\n").to_ascii_lowercase();
            answer(&head, &mut stream);
            head
        };
        answers.into_iter().map(one).collect()
    });
    Server { url, thread }
}

fn say(head: &'static str, body: &'static [u8]) -> Answer {
    Box::new(move |_, stream| {
        let head = head.replace('\n', "\r\n");
        stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        // A client that has seen enough hangs up.
        let _ = stream.write_all(body);
    })
}

const BODY: &[u8] = b"0123456789";
const SUM: &str = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";
/// A busy machine may take its time to answer.
const SHORT: Patience = Patience { idle: Duration::from_secs(60), attempts: 3, pause: Duration::from_millis(1) };

fn wanted(url: &str) -> Wanted<'_> {
    Wanted { url, access: None, sha256: Some(SUM), size: None, most: 1 << 20 }
}

/// Downloads; gives the requests that the server saw.
fn get(answers: Vec<Answer>, folder: &Path) -> (Result<Downloaded>, Vec<String>) {
    get_in(answers, folder, SHORT)
}

fn get_in(answers: Vec<Answer>, folder: &Path, patience: Patience) -> (Result<Downloaded>, Vec<String>) {
    let server = serve(answers);
    let result = download(&wanted(&server.url), folder, patience, &|_| {});
    (result, server.thread.join().unwrap())
}

#[test]
fn who_waits_for_another_download_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(vec![say("200 OK", BODY)]);
    let lock = folder.path().join(format!("{}.lock", &hex(&Sha256::digest(&server.url))[..32]));
    let held = File::create(&lock).unwrap();
    held.lock().unwrap();
    let held = Mutex::new(Some(held));
    let told = |event: Event| {
        if event == (Event::Paused { what: format!("another quiz's download of {}", server.url) }) {
            drop(held.lock().unwrap().take());
        }
    };
    let result = download(&wanted(&server.url), folder.path(), SHORT, &told);
    assert!(held.into_inner().unwrap().is_none(), "it was not told");
    assert_eq!(content(result), BODY);
}

fn content(result: Result<Downloaded>) -> Vec<u8> {
    fs::read(result.unwrap().path).unwrap()
}

#[test]
fn a_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(vec![say("200 OK\nContent-Length: 10", BODY)]);
    let seen = Mutex::new(Vec::new());
    let got = download(&wanted(&server.url), dir.path(), SHORT, &|e| seen.lock().unwrap().push(e)).unwrap();
    assert_eq!((fs::read(got.path).unwrap().as_slice(), got.sha256.as_str(), got.size), (BODY, SUM, 10));
    let last = Event::Download { what: "file.tar".into(), done: 10, total: Some(10) };
    assert_eq!(seen.lock().unwrap().last(), Some(&last));
}

#[test]
fn a_truncated_one_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let (result, requests) = get(
        vec![
            say("200 OK\nContent-Length: 10\nETag: \"v1\"", &BODY[..4]),
            say("206 Partial Content\nContent-Range: bytes 4-9/10\nContent-Length: 6\nETag: \"v1\"", &BODY[4..]),
        ],
        dir.path(),
    );
    assert_eq!(content(result), BODY);
    assert!(!requests[0].contains("range"));
    assert!(requests[1].contains("\nrange: bytes=4-") && requests[1].contains("\nif-range: \"v1\""), "{}", requests[1]);
}

#[test]
fn a_later_process_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let first = |_: &str, stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123").unwrap()
    };
    let gone = || say("503 Service Unavailable", b"");
    let rest = say("206 Partial Content\nContent-Range: bytes 4-9/10", &BODY[4..]);
    let server = serve(vec![Box::new(first), gone(), gone(), rest]);
    let error = download(&wanted(&server.url), dir.path(), SHORT, &|_| {}).err().unwrap();
    assert!(error.to_string().ends_with("the server says 503 Service Unavailable"), "{error}");
    assert_eq!(content(download(&wanted(&server.url), dir.path(), SHORT, &|_| {})), BODY);
    server.thread.join().unwrap();
}

#[test]
fn a_server_that_ignores_ranges_or_has_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let (result, _) =
        get(vec![say("200 OK\nContent-Length: 10", b"xx"), say("200 OK\nContent-Length: 10", BODY)], dir.path());
    assert_eq!(content(result), BODY);
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = say("206 Partial Content\nContent-Range: bytes 0-9/10", BODY);
    let (result, requests) =
        get(vec![say("200 OK\nContent-Length: 10", b"xx"), elsewhere, say("200 OK", BODY)], dir.path());
    assert_eq!(content(result), BODY);
    assert!(!requests[2].contains("range"));
}

#[test]
fn a_part_that_is_complete_or_too_long() {
    for (part, range) in [
        (BODY, "416 Range Not Satisfiable\nContent-Range: bytes */10"),
        (b"0123456789ABC", "416 x\nContent-Range: bytes */10"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut answers = vec![say(range, b"")];
        if part != BODY {
            answers.push(say("200 OK", BODY));
        }
        let server = serve(answers);
        let stem = &hex(&Sha256::digest(&server.url))[..32];
        fs::write(dir.path().join(format!("{stem}.part")), part).unwrap();
        assert_eq!(content(download(&wanted(&server.url), dir.path(), SHORT, &|_| {})), BODY);
        server.thread.join().unwrap();
    }
}

#[test]
fn a_wrong_sum_keeps_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (result, _) = get(vec![say("200 OK\nContent-Length: 3", b"bad")], dir.path());
    let error = result.err().unwrap();
    let bad = hex(&Sha256::digest(b"bad"));
    assert_eq!(error.details(), [format!("wanted sha256 {SUM}"), format!("   got sha256 {bad}")]);
    let left = fs::read_dir(dir.path()).unwrap().filter(|f| f.as_ref().unwrap().path().extension().unwrap() != "lock");
    assert_eq!(left.count(), 0);
}

/// A part of an older file without a validator: the sum is wrong, and the file is asked for once more from its start.
#[test]
fn a_stale_part_is_no_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let rest = say("206 Partial Content\nContent-Range: bytes 2-9/10", &BODY[2..]);
    let server = serve(vec![rest, say("200 OK", BODY)]);
    fs::write(dir.path().join(format!("{}.part", &hex(&Sha256::digest(&server.url))[..32])), "??").unwrap();
    assert_eq!(content(download(&wanted(&server.url), dir.path(), SHORT, &|_| {})), BODY);
}

#[test]
fn not_found_is_final_and_names_the_address() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(vec![say("404 Not Found", b"no")]);
    let error = download(&wanted(&server.url), dir.path(), SHORT, &|_| {}).err().unwrap();
    assert_eq!(error.to_string(), format!("cannot download {}: the server says 404 Not Found", server.url));
    assert_eq!(error.kind(), crate::error::Kind::Input);
}

#[test]
fn a_redirect_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (result, requests) = get(vec![say("302 Found\nLocation: /other", b""), say("200 OK", BODY)], dir.path());
    assert_eq!(content(result), BODY);
    assert!(requests[1].starts_with("get /other"));
}

/// Longer in all than the patience, but never silent for that long.
#[test]
fn slow_is_not_broken_but_silent_is() {
    let patience = Patience { idle: Duration::from_secs(1), ..SHORT };
    let dir = tempfile::tempdir().unwrap();
    let slow: Answer = Box::new(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").unwrap();
        for byte in BODY {
            std::thread::sleep(Duration::from_millis(120));
            stream.write_all(&[*byte]).unwrap();
        }
    });
    let (result, requests) = get_in(vec![slow], dir.path(), patience);
    assert_eq!((content(result).as_slice(), requests.len()), (BODY, 1));

    let dir = tempfile::tempdir().unwrap();
    let silent: Answer = Box::new(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nLast-Modified: x\r\n\r\n01234").unwrap();
        std::thread::sleep(Duration::from_millis(1300));
    });
    let rest = say("206 x\nContent-Range: bytes 5-9/10", &BODY[5..]);
    let (result, _) = get_in(vec![silent, rest], dir.path(), patience);
    assert_eq!(content(result), BODY);
}

#[test]
fn sizes_are_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(vec![
        say("200 OK\nContent-Length: 11", b"0123456789A"),
        say("200 OK", b"0123456789A"),
        say("200 OK", b"0123456789A"),
    ]);
    let get = |size, most| {
        download(&Wanted { size, most, ..wanted(&server.url) }, dir.path(), SHORT, &|_| {}).err().unwrap().to_string()
    };
    assert!(get(Some(10), 100).ends_with("has 11 bytes, but 10 were pinned"));
    assert!(get(Some(10), 100).ends_with("has 11 bytes, but 10 were pinned"));
    assert!(get(None, 10).ends_with("has 11 bytes; at most 10 are allowed"));
}

#[test]
fn what_is_known_of_a_server_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(vec![say("200 OK", BODY)]);
    let proxy = server.url.strip_suffix("/file.tar").map(str::to_owned);
    let access = Access { proxy, login: Some(("me".into(), "secret".into())), accept: None };
    let wanted = Wanted { access: Some(&access), ..wanted("http://nowhere.invalid/file.tar") };
    assert_eq!(content(download(&wanted, dir.path(), SHORT, &|_| {})), BODY);
    let request = &server.thread.join().unwrap()[0];
    assert!(request.starts_with("get http://nowhere.invalid/file.tar"), "{request}");
    // The head is in small letters here.
    assert!(request.contains("\nauthorization: basic bwu6c2vjcmv0"), "{request}");
}

#[test]
fn what_a_server_does_not_have_is_none_for_who_only_looks() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(vec![say("404 Not Found", b"no")]);
    assert!(find(&wanted(&server.url), dir.path(), SHORT, &|_| {}).unwrap().is_none());
}

#[test]
fn only_who_names_a_server_is_asked_for_names() {
    for (text, names) in [
        ("nameserver 127.0.0.53\noptions edns0\n", true),
        ("search e.org\n nameserver fe80::1%eth0\n", true),
        ("", false),
        ("# nameserver 127.0.0.1\nsearch e.org\n", false),
        ("nameserver\nnameserver here\n", false),
    ] {
        assert_eq!(names_a_server(text), names, "{text}");
    }
}
