//! Downloads over http: streamed to a file, resumed where they broke off, checked. Knows nothing of what the bytes mean.

use crate::error::{Error, Result};
use crate::event::{Event, Events};
use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header::{ACCEPT, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How a server is reached, if otherwise than the environment says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Access {
    /// The proxy's address, or "DIRECT" for none.
    pub proxy: Option<String>,
    /// User and password.
    pub login: Option<(String, String)>,
    /// The form that is asked for, a media type, where a server has several.
    pub accept: Option<&'static str>,
}

/// What is to be downloaded.
pub(super) struct Wanted<'a> {
    pub url: &'a str,
    pub access: Option<&'a Access>,
    /// Hex. If it is not known, it is what the caller learns.
    pub sha256: Option<&'a str>,
    /// Bytes, if known.
    pub size: Option<u64>,
    /// More than this is not taken.
    pub most: u64,
}

/// A complete file, and what was learned of it.
pub(super) struct Downloaded {
    pub path: PathBuf,
    pub sha256: String,
    pub size: u64,
}

/// How long to put up with a server.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// How long the server may send nothing.
    pub idle: Duration,
    /// Attempts in a row that bring no byte.
    pub attempts: u32,
    /// The pause before the second attempt; doubled for each further one.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { idle: Duration::from_secs(30), attempts: 4, pause: Duration::from_millis(500) }
    }
}

/// Whether the server has a file of that name: what came of it, or the status by which it said no.
enum Answer<T> {
    Has(T),
    HasNot(StatusCode),
}

/// Why an attempt ended.
enum Stop {
    /// Worth another attempt.
    Again(String, Option<reqwest::Error>),
    /// What is there belongs to something else: another attempt from the start.
    Afresh(String),
    /// The server has nothing of that name.
    Missing(StatusCode),
    Fatal(Error),
}

/// The file in the making. Its name is made of the address, so a later process goes on with it.
struct Part {
    path: PathBuf,
    /// A file with the ETag or the date that the server gave with what is in the part.
    validator: PathBuf,
}

/// Downloads into `folder`. Other processes that want the same address wait, and find it.
///
/// # Errors
/// What does not match `wanted` is removed, and the error names both sums.
pub(super) fn download(wanted: &Wanted, folder: &Path, patience: Patience, events: Events) -> Result<Downloaded> {
    match get(wanted, folder, patience, events)? {
        Answer::Has(file) => Ok(file),
        Answer::HasNot(status) => Err(said(wanted.url, status)),
    }
}

/// The same for a file that the server may not have: then it is `None`.
pub(super) fn find(wanted: &Wanted, folder: &Path, patience: Patience, events: Events) -> Result<Option<Downloaded>> {
    match get(wanted, folder, patience, events)? {
        Answer::Has(file) => Ok(Some(file)),
        Answer::HasNot(_) => Ok(None),
    }
}

fn get(wanted: &Wanted, folder: &Path, patience: Patience, events: Events) -> Result<Answer<Downloaded>> {
    let broken = |path: &Path, e: io::Error| Error::build(format!("cannot write {}", path.display())).because(e);
    fs::create_dir_all(folder).map_err(|e| broken(folder, e))?;
    let stem = &hex(&Sha256::digest(wanted.url))[..32];
    let lock = folder.join(format!("{stem}.lock"));
    let waits_for = || format!("another quiz's download of {}", wanted.url);
    let _lock = super::take_lock(&lock, waits_for, events).map_err(|e| broken(&lock, e))?;
    let part = Part { path: folder.join(format!("{stem}.part")), validator: folder.join(format!("{stem}.validator")) };

    // A part left by an earlier run may be of another file than the server has now, so after a wrong sum it is downloaded
    // once more from its start.
    let mut resumed = length(&part.path) > 0;
    loop {
        if let Answer::HasNot(status) = complete(wanted, &part, patience, events)? {
            return Ok(Answer::HasNot(status));
        }
        let sha256 = sha256_of(&part.path).map_err(|e| broken(&part.path, e))?;
        let size = length(&part.path);
        match wanted.sha256 {
            Some(right) if right != sha256 => part.remove(),
            _ => return Ok(Answer::Has(Downloaded { path: part.path, sha256, size })),
        }
        if !resumed {
            return Err(wrong_sum(wanted.url, wanted.sha256.unwrap_or_default(), &sha256));
        }
        resumed = false;
    }
}

/// The text of a small file.
pub(super) fn text(url: &str, folder: &Path, events: Events) -> Result<String> {
    text_by(url, &Access::default(), folder, events)
}

/// The same of a server that is to be asked in a way of its own.
pub(super) fn text_by(url: &str, access: &Access, folder: &Path, events: Events) -> Result<String> {
    let wanted = Wanted { url, access: Some(access), sha256: None, size: None, most: 16 << 20 };
    let got = download(&wanted, folder, Patience::default(), events)?;
    let text = fs::read_to_string(&got.path).map_err(|e| Error::build(format!("{url}: this is not text")).because(e));
    let _ = fs::remove_file(&got.path);
    text
}

/// What to say when bytes are not the pinned ones.
pub(super) fn wrong_sum(what: &str, right: &str, wrong: &str) -> Error {
    Error::build(format!("{what} is not the file that was pinned"))
        .detail(format!("wanted sha256 {right}"))
        .detail(format!("   got sha256 {wrong}"))
        .hint("if the file was replaced for a good reason, take the new one with `quiz update` and the name of its entry in quiz.lock")
}

/// The sha256 of a file, as hex.
pub(super) fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Attempts until the part is the whole file, or the server says that it has none.
fn complete(wanted: &Wanted, part: &Part, patience: Patience, events: Events) -> Result<Answer<()>> {
    // rustls wants one crypto provider for the whole process. The first call sets it; the error of every later one is ignored.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = Client::builder();
    #[cfg(feature = "resolver")]
    if !names_a_server(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()) {
        // hickory would ask a server on the internet then; the C library asks one on this machine (resolv.conf(5)).
        client = client.no_hickory_dns();
    }
    match wanted.access.and_then(|access| access.proxy.as_deref()) {
        Some("DIRECT") => client = client.no_proxy(),
        Some(proxy) => {
            let proxy = reqwest::Proxy::all(proxy);
            let wrong = |e| Error::input("the proxy that apt's settings in /etc/apt name is not an address").because(e);
            client = client.proxy(proxy.map_err(wrong)?);
        }
        None => {}
    }
    let client = client
        .user_agent(concat!("quiz/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(patience.idle)
        // For the blocking client this bounds the wait for the head and for each read of the body, not their sum.
        .timeout(patience.idle)
        // An https address must not be redirected to plain http.
        .https_only(wanted.url.starts_with("https://"))
        .build()
        .map_err(|e| {
            Error::build("cannot set up https")
                .because(e)
                .hint("if no certificates are found: the package ca-certificates has them")
        })?;
    let (mut failures, mut before) = (0, length(&part.path));
    loop {
        let why = match attempt(&client, wanted, part, events) {
            Ok(()) => return Ok(Answer::Has(())),
            Err(Stop::Missing(status)) => return Ok(Answer::HasNot(status)),
            Err(Stop::Fatal(error)) => return Err(error),
            Err(Stop::Afresh(why)) => {
                part.remove();
                (why, None)
            }
            Err(Stop::Again(why, source)) => (why, source),
        };
        let now = length(&part.path);
        failures = if now > before { 1 } else { failures + 1 };
        before = now;
        if failures >= patience.attempts {
            let error = Error::build(format!("cannot download {}: {}", wanted.url, why.0));
            let error = if now > 0 {
                error.hint("what has arrived so far is kept: the same command goes on from there")
            } else {
                error.hint("is there network, and does this address open in a browser?")
            };
            return Err(why.1.into_iter().fold(error, Error::because));
        }
        events(Event::Note { message: format!("{}: {}; trying again", wanted.url, why.0) });
        std::thread::sleep(patience.pause * 2_u32.pow(failures - 1));
    }
}

/// One request; what it brings is appended to the part.
fn attempt(client: &Client, wanted: &Wanted, part: &Part, events: Events) -> std::result::Result<(), Stop> {
    let io = |e: io::Error| Stop::Fatal(Error::build(format!("cannot write {}", part.path.display())).because(e));
    let mut have = length(&part.path);
    let validator = fs::read_to_string(&part.validator).ok();
    if have > 0 && validator.is_none() && wanted.sha256.is_none() {
        // Nothing would tell whether the rest belongs to the same file.
        part.remove();
        have = 0;
    }
    if wanted.size.is_some_and(|size| have == size) {
        return Ok(());
    }
    let mut request = client.get(wanted.url);
    if let Some((user, password)) = wanted.access.and_then(|access| access.login.as_ref()) {
        request = request.basic_auth(user, Some(password));
    }
    if let Some(form) = wanted.access.and_then(|access| access.accept) {
        request = request.header(ACCEPT, form);
    }
    if have > 0 {
        request = request.header(RANGE, format!("bytes={have}-"));
        request = validator.iter().fold(request, |request, validator| request.header(IF_RANGE, validator));
    }
    let mut response = request.send().map_err(|e| sent(wanted.url, e))?;
    let total = match response.status() {
        StatusCode::OK => {
            part.remove();
            have = 0;
            response.content_length()
        }
        StatusCode::PARTIAL_CONTENT => match content_range(response.headers()) {
            Some((Some(start), total)) if start == have => total,
            _ => return Err(Stop::Afresh("the server sent another part than was asked for".to_owned())),
        },
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => match content_range(response.headers()) {
            Some((None, Some(total))) if total == have => return Ok(()),
            _ => return Err(Stop::Afresh("the file on the server has changed meanwhile".to_owned())),
        },
        status => return Err(refused(wanted.url, status)),
    };
    check_size(wanted, total)?;
    if let Some(validator) = validator_of(response.headers()) {
        fs::write(&part.validator, validator).map_err(io)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).open(&part.path).map_err(io)?;
    let done = copy(&mut response, &mut file, wanted, have, total, events)?;
    match total.or(wanted.size) {
        Some(total) if done < total => {
            Err(Stop::Again(format!("the connection ended after {done} of {total} bytes"), None))
        }
        _ => Ok(()),
    }
}

/// Copies the body; gives the length of the part after it.
fn copy(
    from: &mut Response,
    to: &mut File,
    wanted: &Wanted,
    have: u64,
    total: Option<u64>,
    events: Events,
) -> std::result::Result<u64, Stop> {
    let what = wanted.url.rsplit('/').next().unwrap_or(wanted.url);
    let tell = |done, total| events(Event::Download { what: what.to_owned(), done, total });
    let mut done = have;
    let mut buffer = vec![0; 1 << 16];
    let mut told = Instant::now();
    tell(done, total);
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Stop::Again(format!("the connection broke after {done} bytes ({e})"), None)),
        };
        done += read as u64;
        check_size(wanted, Some(done).filter(|done| *done > wanted.size.unwrap_or(wanted.most)))?;
        to.write_all(&buffer[..read]).map_err(|e| {
            Stop::Fatal(Error::build(format!("cannot write the download of {}", wanted.url)).because(e))
        })?;
        if told.elapsed() >= Duration::from_millis(100) {
            told = Instant::now();
            tell(done, total);
        }
    }
    // If the server did not say how many bytes there are, these were all.
    tell(done, total.or(Some(done)));
    Ok(done)
}

fn check_size(wanted: &Wanted, total: Option<u64>) -> std::result::Result<(), Stop> {
    let wrong = match (total, wanted.size) {
        (Some(total), Some(size)) if total != size => format!("has {total} bytes, but {size} were pinned"),
        (Some(total), _) if total > wanted.most => format!("has {total} bytes; at most {} are allowed", wanted.most),
        _ => return Ok(()),
    };
    Err(Stop::Fatal(Error::build(format!("{} {wrong}", wanted.url))))
}

/// Every failure to send is worth another attempt but those that no server has a part in.
fn sent(url: &str, error: reqwest::Error) -> Stop {
    if error.is_builder() || error.is_redirect() {
        return Stop::Fatal(Error::input(format!("cannot download {url}")).because(error));
    }
    let why = if error.is_timeout() { "the server does not answer" } else { "the server cannot be reached" };
    Stop::Again(why.to_owned(), Some(error))
}

fn refused(url: &str, status: StatusCode) -> Stop {
    if status == StatusCode::NOT_FOUND || status == StatusCode::GONE {
        return Stop::Missing(status);
    }
    let why = format!("the server says {status}");
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT {
        return Stop::Again(why, None);
    }
    Stop::Fatal(said(url, status))
}

fn said(url: &str, status: StatusCode) -> Error {
    Error::input(format!("cannot download {url}: the server says {status}"))
}

/// The first byte and the total of "bytes 10-99/100", "bytes 10-99/*" or "bytes */100".
fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-').and_then(|(start, _)| start.parse().ok()), total.parse().ok()))
}

/// A weak ETag says nothing of bytes, and `If-Range` does not take it.
fn validator_of(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    text(ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| text(LAST_MODIFIED))
}

impl Part {
    /// Removes both files, if they are there.
    fn remove(&self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.validator);
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

/// Whether a text like /etc/resolv.conf names a server of names.
#[cfg(any(feature = "resolver", test))]
fn names_a_server(text: &str) -> bool {
    let is_address = |word: &str| word.split('%').next().is_some_and(|word| word.parse::<std::net::IpAddr>().is_ok());
    let mut lines = text.lines().map(|line| line.split_whitespace());
    lines.any(|mut words| words.next() == Some("nameserver") && words.next().is_some_and(is_address))
}

/// Bytes as hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests;
