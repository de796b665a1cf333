//! An action that posts its input to `/things`.

use terapi_guest::prelude::*;

#[data]
struct Input {
    text: String,
    /// So many letters come back.
    #[serde(default)]
    letters: usize,
    /// It refuses.
    #[serde(default)]
    refuse: bool,
}

#[data]
struct Output {
    number: u64,
    letters: String,
}

#[derive(Deserialize)]
struct Made {
    number: u64,
}

/// Makes a thing.
#[action]
fn poster(input: &Input) -> Result<Output> {
    if input.refuse {
        return Err(Error::permanent("not this one").with_details(&input.text));
    }
    let made: Made = post("/things").json(input).send()?.json()?;
    Ok(Output { number: made.number, letters: "x".repeat(input.letters) })
}
