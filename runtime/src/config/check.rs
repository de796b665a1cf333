//! Whether the settings go together.

use std::net::SocketAddr;
use std::time::Duration;

use super::units::ByteSize;
use super::{Config, ConfigError};
use crate::sandbox::MAX_MEMORY;

/// A page of WebAssembly memory: with less nothing runs.
const LEAST_MEMORY: ByteSize = ByteSize(64 << 10);
/// What the compiler takes for a component of nothing.
const LEAST_COMPILE_MEMORY: ByteSize = ByteSize(256 << 20);

impl Config {
    /// Whether the settings go together: what the service asks before it starts.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_server()?;
        self.check_runs()
    }

    fn check_server(&self) -> Result<(), ConfigError> {
        let server = &self.server;
        let tls = match (&server.tls_cert, &server.tls_key) {
            (Some(_), Some(_)) => true,
            (None, None) => false,
            (Some(_), None) => return wrong("`[server] tls_cert` is set and `tls_key` is not: TLS takes both"),
            (None, Some(_)) => return wrong("`[server] tls_key` is set and `tls_cert` is not: TLS takes both"),
        };
        if is_reachable(server.listen) && !tls && !server.allow_plaintext {
            return wrong(format!(
                "`[server] listen` is {}, which other machines can reach, and API keys and records would cross the \
                 network in clear text: set `tls_cert` and `tls_key`, or listen on 127.0.0.1, or, if something before \
                 it does TLS, set `allow_plaintext = true`",
                server.listen
            ));
        }
        let times = [
            ("body_timeout", server.body_timeout),
            ("header_timeout", server.header_timeout),
            ("idle_timeout", server.idle_timeout),
            ("write_timeout", server.write_timeout),
        ];
        for (key, time) in times {
            if time == Duration::ZERO {
                return wrong(format!(
                    "`[server] {key}` is 0, so no request would ever be answered: set it to 1s or more"
                ));
            }
        }
        if server.max_connections == 0 {
            return wrong("`[server] max_connections` is 0, so nobody could connect: set it to 1 or more");
        }
        if server.body_memory < server.max_body {
            return wrong(format!(
                "`[server] body_memory` is {}, less than the {} of `max_body`, so the largest body would never fit in: raise \
                 `body_memory` or lower `max_body`",
                server.body_memory, server.max_body
            ));
        }
        let Some(metrics) = server.metrics_listen else { return Ok(()) };
        if is_reachable(metrics) && !server.allow_plaintext {
            return wrong(format!(
                "`[server] metrics_listen` is {metrics}, which other machines can reach, and metrics are served in \
                 clear text and to everyone: listen on 127.0.0.1, or set `allow_plaintext = true`"
            ));
        }
        // Port 0 is a new one each time.
        if metrics == server.listen && metrics.port() != 0 {
            return wrong(format!("`[server] listen` and `metrics_listen` are both {metrics}: give them two ports"));
        }
        Ok(())
    }

    fn check_runs(&self) -> Result<(), ConfigError> {
        let runs = &self.runs;
        if runs.at_once == 0 {
            return wrong("`[runs] at_once` is 0, so nothing would ever run: set it to 1 or more");
        }
        if runs.fuel.0 == 0 {
            return wrong("`[runs] fuel` is 0, so nothing could run: leave it out for the default");
        }
        for (key, time) in [("keep", runs.keep), ("timeout", runs.timeout)] {
            if time == Duration::ZERO {
                return wrong(format!("`[runs] {key}` is 0: set it to 1s or more"));
            }
        }
        if self.server.max_body.0 == 0 {
            return wrong("`[server] max_body` is 0, so nothing could be sent: leave it out for the default");
        }
        let uploads = &self.uploads;
        for (key, limit) in [
            ("functions", uploads.functions.0),
            ("function_bytes", uploads.function_bytes.0),
            ("instances", uploads.instances.0),
            ("compile_time", uploads.compile_time.as_secs()),
        ] {
            if limit == 0 {
                return wrong(format!(
                    "`[uploads] {key}` is 0, so no component could be uploaded: leave it out for the default"
                ));
            }
        }
        if uploads.compile_memory < LEAST_COMPILE_MEMORY {
            return wrong(format!(
                "`[uploads] compile_memory` is {}, and a compiler needs {LEAST_COMPILE_MEMORY} at the least",
                uploads.compile_memory
            ));
        }
        if runs.memory_limit < LEAST_MEMORY {
            return wrong(format!(
                "`[runs] memory_limit` is {}, and a script needs {LEAST_MEMORY} at the least",
                runs.memory_limit
            ));
        }
        if runs.memory_limit.0 > MAX_MEMORY {
            return wrong(format!(
                "`[runs] memory_limit` is {}, and no script can have more than {}",
                runs.memory_limit,
                ByteSize(MAX_MEMORY)
            ));
        }
        if runs.memory_limit > runs.memory {
            return wrong(format!(
                "`[runs] memory_limit` is {}, more than the {} of `[runs] memory` that all runs have together, so none \
                 could start: raise `memory` or lower `memory_limit`",
                runs.memory_limit, runs.memory
            ));
        }
        Ok(())
    }
}

/// Whether others than this machine can come to it.
fn is_reachable(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

fn wrong(problem: impl Into<String>) -> Result<(), ConfigError> {
    Err(ConfigError::Check(problem.into()))
}
