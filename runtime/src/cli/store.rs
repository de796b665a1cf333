//! `terapi store`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, Subcommand};
use reqwest::Method;

use super::client::{Content, parse};
use super::progress::Bar;
use super::{Context, Failed, output};
use crate::api::{PrunedView, RetentionView};
use crate::config::units::parse_duration;
use crate::sandbox::bytes;
use crate::store::embedded::{self, Copied, EmbeddedStore, Problems, StoreOptions};

/// Check, copy and rescue the data directory, and decide how long it keeps what
#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Read everything and say what is not as it was written; changes nothing
    #[command(after_help = "Exit code 1 if something is wrong. Example:
  terapi store verify --data-dir /var/lib/terapi")]
    Verify,
    /// Write everything that is readable of a damaged data directory to a new one
    #[command(after_help = "The damaged directory stays as it is. Cursors of apps are refused afterwards. Example:
  terapi store salvage --data-dir ./damaged --to ./rescued")]
    Salvage {
        /// The new data directory, which must not exist or be empty
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Copy the data directory, also while it is in use
    #[command(after_help = "The copy is a data directory like any other. Example:
  terapi store backup /backups/monday")]
    Backup {
        /// The copy, which must not exist or be empty
        #[arg(value_name = "DIR")]
        to: PathBuf,
    },
    /// Make a new data directory of a backup
    #[command(
        after_help = "Cursors of apps are refused afterwards, so that none misses what the backup lacks. Example:
  terapi store restore /backups/monday --data-dir ./restored"
    )]
    Restore {
        /// The backup, or any data directory that is not in use
        #[arg(value_name = "DIR")]
        from: PathBuf,
    },
    /// Show what takes how much space
    #[command(after_help = "Example:
  terapi store stats --json")]
    Stats,
    /// Show, or set, how long content and deleted records are kept; for ever, unless something is set
    #[command(after_help = "Applied after runs, about once an hour, and by `terapi store prune`. Example:
  terapi store retention --payloads 90d --tombstones 30d")]
    Retention(RetentionArgs),
    /// Apply the retention now
    #[command(after_help = "Apps that have not read what goes are told so when they come with their cursor. Example:
  terapi store retention --tombstones 30d && terapi store prune")]
    Prune,
}

/// What is to be kept for how long.
#[derive(Debug, Args)]
pub(super) struct RetentionArgs {
    /// Content of records that did not change for so long goes, such as 90d; `off` keeps it
    #[arg(long, value_name = "TIME|off")]
    payloads: Option<Age>,
    /// Deleted records are forgotten after so long, such as 30d; `off` keeps them
    #[arg(long, value_name = "TIME|off")]
    tombstones: Option<Age>,
    /// Runs are forgotten with their logs after so long, such as 30d; `off` keeps them
    #[arg(long, value_name = "TIME|off")]
    runs: Option<Age>,
}

/// Milliseconds, or for ever.
#[derive(Debug, Clone, Copy)]
struct Age(Option<u64>);

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let time = parse_duration(text).map_err(|error| format!("{error}, 90d or off"))?;
        u64::try_from(time.as_millis()).map(|ms| Self(Some(ms))).map_err(|_| "that is too long".to_owned())
    }
}

impl StoreCommand {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        if !matches!(self, Self::Retention(_) | Self::Prune) {
            context.only_here("`terapi store`, except for `retention` and `prune`,")?;
        }
        match self {
            Self::Verify => return verify(context),
            Self::Salvage { to } => salvage(context, &to)?,
            Self::Backup { to } => {
                let bar = Bar::of_bytes();
                let copied = embedded::backup(&context.store_dir(), &to, &mut |done, total| {
                    bar.show(done, total);
                });
                drop(bar);
                say_copied(context, "backed up", &to, &copied?)?;
            }
            Self::Restore { from } => {
                let bar = Bar::of_bytes();
                let to = &context.store_dir();
                let copied = embedded::restore(&from, to, &mut |done, total| bar.show(done, total));
                drop(bar);
                say_copied(context, "restored", to, &copied?)?;
            }
            Self::Stats => stats(context)?,
            Self::Retention(args) => retention(context, &args).await?,
            Self::Prune => {
                let text = context.client()?.text(Method::POST, "/v1/retention/prune", Content::None).await?;
                output::answer(context, &text, |pruned: PrunedView| {
                    let what = format!(
                        "{} records lost their content; {} deleted ones and {} runs are forgotten",
                        output::count(pruned.records),
                        output::count(pruned.tombstones),
                        output::count(pruned.runs)
                    );
                    output::done(context, "pruned", what);
                    Ok(())
                })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn open(context: &Context) -> Result<EmbeddedStore, Failed> {
    Ok(EmbeddedStore::open(&context.store_dir(), &StoreOptions::default())?)
}

fn verify(context: &Context) -> Result<ExitCode, Failed> {
    let bar = Bar::of_bytes();
    let options = StoreOptions::default();
    let found = embedded::verify(&context.store_dir(), &options, &mut |done, total| bar.show(done, total));
    drop(bar);
    let found = found?;
    let whole = found.problems.count() == 0;
    if context.json {
        output::json(&found)?;
    } else {
        let (style, word) = if whole { (output::GREEN.bold(), "whole") } else { (output::RED.bold(), "damaged") };
        anstream::println!("{style}{word}{style:#}  {}", context.store_dir().display());
        anstream::println!("  records   {}, each where the index says", output::count(found.records));
        anstream::println!(
            "  log       {} in {}, {}, {}",
            bytes(found.log_bytes),
            some(found.files, "file"),
            some(found.frames, "commit"),
            some(found.blocks, "block")
        );
        show_problems(&found.problems);
    }
    if whole {
        return Ok(ExitCode::SUCCESS);
    }
    let count = found.problems.count();
    let problems = if count == 1 { "one problem was found".to_owned() } else { format!("{count} problems were found") };
    Err(Failed::coded(
        "store-corrupt",
        format!(
            "{problems}. Where nothing else is said: restore a backup with `terapi store restore`, or rescue what is \
             readable with `terapi store salvage --to DIR`"
        ),
    ))
}

fn salvage(context: &Context, to: &Path) -> Result<(), Failed> {
    let bar = Bar::of_bytes();
    let options = StoreOptions::default();
    let report = embedded::salvage(&context.store_dir(), to, &options, &mut |done, total| bar.show(done, total));
    drop(bar);
    let report = report?;
    if context.json {
        return output::json(&report);
    }
    let (green, dim) = (output::GREEN.bold(), output::DIM);
    anstream::println!("{green}salvaged{green:#}  {}", to.display());
    anstream::println!(
        "  kept      {} in {}, {}, {}",
        some(report.records, "record"),
        some(report.streams, "stream"),
        some(report.runs, "run"),
        some(report.scripts, "script")
    );
    anstream::println!("  lost      {}, {}", some(report.lost_blocks, "block"), bytes(report.lost_bytes));
    show_problems(&report.problems);
    for stream in &report.affected {
        let (connection, model) = (&stream.connection, &stream.model);
        anstream::println!(
            "  {stream} has records that are missing or older: to fetch them again, run what saves {model}:\n    \
             {dim}terapi run SCRIPT --connection {connection} --reset{dim:#}"
        );
    }
    if report.unattributed {
        anstream::println!(
            "  of some of it nobody can tell what it was: records of any stream may be missing or older"
        );
    }
    Ok(())
}

fn say_copied(context: &Context, done: &str, to: &Path, copied: &Copied) -> Result<(), Failed> {
    if context.json {
        return output::json(copied);
    }
    let green = output::GREEN.bold();
    anstream::println!("{green}{done}{green:#}  {}", to.display());
    anstream::println!(
        "  log       {} in {}, {}",
        bytes(copied.log_bytes),
        some(copied.files, "file"),
        some(copied.frames, "commit")
    );
    anstream::println!("  scripts   {}", output::count(copied.scripts));
    Ok(())
}

fn stats(context: &Context) -> Result<(), Failed> {
    let stats = open(context)?.stats()?;
    if context.json {
        return output::json(&stats);
    }
    let dead = stats.log_bytes.saturating_sub(stats.live_bytes);
    anstream::println!(
        "log        {} in {}: about {} live, {} dead",
        bytes(stats.log_bytes),
        some(stats.log_files, "file"),
        bytes(stats.live_bytes),
        bytes(dead)
    );
    anstream::println!(
        "index      {}: {} of rows, {} of {} places",
        bytes(stats.catalog_bytes + stats.places_bytes),
        bytes(stats.catalog_bytes),
        bytes(stats.places_bytes),
        output::count(stats.places)
    );
    anstream::println!("scripts    {}", bytes(stats.script_bytes));
    if !stats.streams.is_empty() {
        anstream::println!();
        let rows = stats
            .streams
            .iter()
            .map(|info| vec![info.stream.to_string(), output::count(info.live), output::count(info.changes)]);
        output::table(&["stream", ">records", ">changes"], rows.collect());
    }
    Ok(())
}

async fn retention(context: &Context, args: &RetentionArgs) -> Result<(), Failed> {
    const PATH: &str = "/v1/retention";
    let client = context.client()?;
    let mut text = client.text(Method::GET, PATH, Content::None).await?;
    if args.payloads.is_some() || args.tombstones.is_some() || args.runs.is_some() {
        let mut retention: RetentionView = parse(&text)?;
        let set = |place: &mut Option<u64>, given: Option<Age>| {
            if let Some(Age(age)) = given {
                *place = age;
            }
        };
        set(&mut retention.payloads_ms, args.payloads);
        set(&mut retention.tombstones_ms, args.tombstones);
        set(&mut retention.runs_ms, args.runs);
        text = client.text(Method::PUT, PATH, Content::json(&retention)?).await?;
    }
    output::answer(context, &text, |retention: RetentionView| {
        let RetentionView { payloads_ms, tombstones_ms, runs_ms } = retention;
        anstream::println!("payloads     {}", words(payloads_ms));
        anstream::println!("tombstones   {}", words(tombstones_ms));
        anstream::println!("runs         {}", words(runs_ms));
        Ok(())
    })
}

fn words(age: Option<u64>) -> String {
    age.map_or_else(|| "kept for ever".to_owned(), |ms| format!("kept for {}", output::exact(ms)))
}

fn some(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", output::count(count), if count == 1 { "" } else { "s" })
}

fn show_problems(problems: &Problems) {
    for problem in &problems.problems {
        let red = output::RED;
        anstream::println!("  {red}{}{red:#}: {}", problem.place, problem.what);
    }
    if problems.more_problems > 0 {
        anstream::println!("  and {} more", output::count(problems.more_problems));
    }
}
