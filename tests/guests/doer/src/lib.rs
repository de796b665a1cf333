//! An action that tries everything that an action may and may not, and returns how it went.

use terapi_guest::prelude::*;

/// The model of the probe, to read.
#[model]
struct Thing {
    id: String,
}

#[data]
struct Input {
    /// What to try.
    r#do: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    n: usize,
}

#[data]
#[serde(untagged)]
enum Output {
    Text(String),
    Nested(Vec<Output>),
}

/// Tries what its input names.
#[action(models = [Thing])]
fn doer(run: &Run, input: &Input) -> Result<Output> {
    let words =
        |result: Result<String>| result.unwrap_or_else(|error| format!("{:?}: {}", error.kind(), error.message()));
    Ok(Output::Text(match input.r#do.as_str() {
        "who" => format!("{} {} {}", run.id, run.connection, run.variant),
        "read" => words(get_by_ids::<Thing>(["a", "b"]).map(|found| found.iter().map(|it| it.data.as_str()).collect())),
        "list" => {
            words(list::<Thing>().map(|it| it.map(|it| it.id)).collect::<Result<Vec<_>>>().map(|ids| ids.join(",")))
        }
        "save" => words(batch_save([Thing { id: "x".into() }]).map(|saved| format!("{saved:?}"))),
        "update" => words(batch_update::<Thing>([("x", Fields { text: "y" })]).map(|saved| format!("{saved:?}"))),
        "delete" => words(batch_delete::<Thing>(["a"]).map(|count| count.to_string())),
        "track" => words(track_deletes_start::<Thing>().map(|()| "tracking".to_owned())),
        "checkpoint" => words(save_checkpoint(&Fields { text: "y" }).map(|()| "saved".to_owned())),
        "clear" => words(clear_checkpoint().map(|()| "cleared".to_owned())),
        "date" => format!("{:?}", last_sync_date()),
        "metadata" => {
            update_metadata(&Fields { text: "by the action" })?;
            words(metadata::<Owned>().map(|it| it.text))
        }
        "fetch" => words(get(&input.url).send().map(|answer| answer.text().into_owned())),
        "large" => "x".repeat(input.n),
        "nested" => {
            return Ok((1..input.n).fold(Output::Nested(vec![]), |inner, _| Output::Nested(vec![inner])));
        }
        "fail" => {
            return Err(Error::permanent("refused").with_details(&Fields { text: "why" }));
        }
        other => bail!("no such thing: {other}"),
    }))
}

#[derive(Serialize)]
struct Fields<'a> {
    text: &'a str,
}

#[derive(Deserialize)]
struct Owned {
    text: String,
}
