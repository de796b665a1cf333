//! Dials by itself: what the standard library needs for that is imported, and no script gets it.

use terapi_guest::prelude::*;

/// A record.
#[model]
struct Thing {
    id: String,
}

/// Dials by itself.
#[sync(mode = "incremental", models = [Thing])]
fn dialer(run: &Run) -> Result<()> {
    std::net::TcpStream::connect(&*run.connection)?;
    Ok(())
}
