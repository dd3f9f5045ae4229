//! What a caller of the control socket sends, and what a predecessor replies.
#![no_main]

use std::sync::LazyLock;

use disnix_proxy_example::interface::{
    ConnectionParameters, HandOverReply, INTERFACE, LockParameters, StatusReply, SwitchParameters,
    TargetParameters,
};
use disnix_proxy_example::service::varlink::{Call, VarlinkConnection, ReceiveError, Reply, ServiceInfo};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

const LIMIT: usize = 64 * 1024;

const INFO: ServiceInfo = ServiceInfo {
    product: "fuzz",
    version: "0",
    url: "",
    interface: INTERFACE,
    description: "",
};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_io().build();
    runtime.expect("a runtime")
});

fuzz_target!(|bytes: &[u8]| {
    let bytes = &bytes[..bytes.len().min(LIMIT)];
    let calls: Vec<Call> = RUNTIME.block_on(messages(bytes));
    for call in calls {
        read_again(&call);
        INFO.answer(&call);
        understood::<LockParameters>(&call.parameters);
        understood::<SwitchParameters>(&call.parameters);
        understood::<TargetParameters>(&call.parameters);
        understood::<ConnectionParameters>(&call.parameters);
    }
    let replies: Vec<Reply> = RUNTIME.block_on(messages(bytes));
    for reply in replies {
        read_again(&reply);
        understood::<HandOverReply>(&reply.parameters);
        understood::<StatusReply>(&reply.parameters);
    }
});

/// All messages up to the end, or to the first that is none.
async fn messages<T: DeserializeOwned>(bytes: &[u8]) -> Vec<T> {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let mut connection = VarlinkConnection::new(ours, LIMIT);
    let mut messages = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        theirs.writable().await.expect("room");
        match theirs.try_write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(_) => break, // the socket is full: the rest is left away
        }
    }
    drop(theirs);
    loop {
        match connection.receive().await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) | Err(ReceiveError::Lost(_) | ReceiveError::Malformed(_)) => return messages,
            Err(ReceiveError::TooLong(_)) => panic!("it is not longer than the limit"),
        }
    }
}

/// What was understood is sent so that it is understood again.
fn read_again<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(message: &T) {
    let bytes = serde_json::to_vec(message).expect("JSON");
    let again: T = serde_json::from_slice(&bytes).expect("what was sent");
    assert_eq!(&again, message);
}

fn understood<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(parameters: &Value) {
    if let Ok(parameters) = serde_json::from_value::<T>(parameters.clone()) {
        read_again(&parameters);
    }
}
