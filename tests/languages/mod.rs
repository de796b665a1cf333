//! The same script in every language, and what their SDKs bring along.

mod bindings;
mod componentize;
mod conformance;
mod init;
mod sockets;
