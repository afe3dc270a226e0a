//! Files on a web server of this machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// Paths with their contents, what was asked for, and the end of the paths that are not answered for now.
#[derive(Clone, Default)]
pub(super) struct Files(pub(super) Arc<Mutex<BTreeMap<String, Vec<u8>>>>, Arc<Mutex<Vec<String>>>, Arc<Mutex<String>>);

impl Files {
    /// Serves them until the process ends; gives the address.
    pub(super) fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let files = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let files = files.clone();
                std::thread::spawn(move || files.answer(stream.unwrap()));
            }
        });
        address
    }

    fn answer(&self, mut stream: std::net::TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(|line| line.ok());
        let Some(head) = lines.next() else { return };
        lines.take_while(|line| !line.is_empty()).for_each(drop);
        let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        self.1.lock().unwrap().push(path.clone());
        let is_held = || {
            let held = self.2.lock().unwrap();
            !held.is_empty() && path.ends_with(held.as_str())
        };
        while is_held() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let body = self.0.lock().unwrap().get(&path).cloned();
        let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
        let body = body.unwrap_or_default();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        // A client that has seen enough hangs up.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    }

    pub(super) fn put(&self, path: impl Into<String>, body: impl Into<Vec<u8>>) {
        self.0.lock().unwrap().insert(path.into(), body.into());
    }

    pub(super) fn remove(&self, part: &str) {
        self.0.lock().unwrap().retain(|path, _| !path.contains(part));
    }

    /// Answers for paths with this end only when another one is held; "" holds none.
    pub(super) fn hold(&self, end: &str) {
        end.clone_into(&mut self.2.lock().unwrap());
    }

    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.1.lock().unwrap())
    }
}
