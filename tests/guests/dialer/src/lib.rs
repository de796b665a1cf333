//! Dials by itself: what the standard library needs for that is imported, and nothing is behind it.

use terapi_guest::prelude::*;

/// A record.
#[model]
struct Thing {
    id: String,
}

/// Whom to dial.
#[data]
struct Config {
    address: String,
}

/// Dials by itself.
#[sync(mode = "incremental", models = [Thing])]
fn dialer(run: &Run<Config>) -> Result<()> {
    std::net::TcpStream::connect(&*run.config.address)?;
    Ok(())
}
