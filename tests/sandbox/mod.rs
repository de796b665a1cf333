//! Scripts of strangers, from outside: what they may do has its effect, and whatever else they do harms nobody.

mod actions;
mod failures;
mod functions;
mod isolation;
mod limits;
mod manifests;
mod memory;
mod pages;
mod parking;
mod records;
mod requests;
mod time;
mod uploads;
