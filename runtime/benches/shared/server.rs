//! An API in a process of its own, so that its CPU is nobody's who is measured.

#![allow(dead_code, reason = "each bench includes this file and uses its part of it")]

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use terapi::egress::Policy;

/// The first argument of the child.
pub(crate) const SERVE: &str = "--serve";

/// The child. It is this program once more, started with [`SERVE`]: it prints its URL, answers each line it is given
/// with a line, and ends with its standard input.
pub(crate) struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, told something from the start.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(SERVE)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = output.next().unwrap().unwrap();
        Self { child, input, output, url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What lets a script reach it.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            base_url: Some(self.url.parse().unwrap()),
            allowed_hosts: vec![self.url.parse().unwrap()],
            private_networks: vec!["127.0.0.0/8".parse().unwrap()],
            ..Policy::default()
        }
    }

    /// Tells it something, and returns its answer.
    pub(crate) fn tell(&mut self, line: &str) -> String {
        writeln!(self.input.as_ref().unwrap(), "{line}").unwrap();
        self.output.next().unwrap().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
