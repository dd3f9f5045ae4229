//! One end of a connection: messages in and out, with descriptors where they are expected.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, Shutdown};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::service::rights::{self, DESCRIPTORS_MAX};

/// Why no message could be received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The peer hung up within a message, or the connection broke.
    #[error("the connection was lost: {0}")]
    Lost(#[from] io::Error),
    /// The message has more bytes than the limit.
    #[error("a message has more than {0} bytes")]
    TooLong(usize),
    /// The message is not JSON, or not of the expected kind.
    #[error("a message could not be understood: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// One end of a Varlink connection.
#[derive(Debug)]
pub struct VarlinkConnection {
    stream: UnixStream,
    received: Vec<u8>,
    limit: usize,
    /// Descriptors that came with the bytes.
    descriptors: Vec<OwnedFd>,
    /// The most that are accepted.
    descriptors_max: usize,
}

impl VarlinkConnection {
    /// A connection that buffers at most `limit` bytes from its peer.
    pub fn new(stream: UnixStream, limit: usize) -> Self {
        Self {
            stream,
            received: Vec::new(),
            limit,
            descriptors: Vec::new(),
            descriptors_max: 0,
        }
    }

    /// Accepts descriptors from now on, at most `most` until they are [taken](Self::take_descriptors).
    pub fn accept_descriptors(&mut self, most: usize) {
        self.descriptors_max = most;
    }

    /// Takes the descriptors that have come until now. Where no more could be opened (`RLIMIT_NOFILE`), those of a
    /// message are fewer than it says, the first ones.
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// Receives the next message; `None` when the peer has hung up between two messages. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or the message is too long or malformed. It cannot be used any more then.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ReceiveError> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == 0) {
                let message = serde_json::from_slice(&self.received[..end]);
                self.received.drain(..=end);
                if self.received.is_empty() {
                    self.received = Vec::new(); // an idle connection has no buffer
                }
                return Ok(Some(message?));
            }
            if self.read_some().await? == 0 {
                return match self.received.is_empty() {
                    true => Ok(None),
                    false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                };
            }
        }
    }

    /// Waits until the peer hangs up or the connection breaks. [`Self::receive`] returns messages that come in the
    /// meantime; more than the limit count as a break. Cancel safe.
    pub async fn hung_up(&mut self) {
        while let Ok(1..) = self.read_some().await {}
    }

    /// Receives and drops about `most` bytes, or less if the peer hangs up or the connection breaks. Cancel safe.
    pub async fn discard(&mut self, most: usize) {
        (self.received, self.limit) = (Vec::new(), usize::MAX);
        let mut left = most;
        while let Ok(count @ 1..) = self.read_some().await {
            self.received.clear();
            left = match left.checked_sub(count) {
                Some(left) => left,
                None => return,
            };
        }
    }

    /// Sends one message. Not cancel safe: the connection cannot be used any more then.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.send_bytes(&to_bytes(message)?).await
    }

    /// Ends sending: the peer sees a hangup. What it sends can still be received.
    pub fn shutdown_write(&self) {
        // It fails when the peer has gone already.
        let _ = rustix::net::shutdown(&self.stream, Shutdown::Write);
    }

    /// Makes the peer fail to send from now on. What it has sent can still be received.
    pub fn shutdown_read(&self) {
        let _ = rustix::net::shutdown(&self.stream, Shutdown::Read);
    }

    /// Sends one message with descriptors, at least one: 253 with the first byte, 253 with the second and so on.
    /// Not cancel safe. Fails when the connection breaks, too many descriptors are in flight (`ETOOMANYREFS`,
    /// unix(7)), or the message has too few bytes for all.
    pub(crate) async fn send_with(
        &mut self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let bytes = to_bytes(message)?;
        let parts = descriptors.chunks(DESCRIPTORS_MAX);
        let count = parts.len();
        if count > bytes.len() {
            return Err(io::ErrorKind::ArgumentListTooLong.into());
        }
        for (byte, part) in bytes.chunks(1).zip(parts) {
            let send = || Ok(rights::send(&self.stream, byte, part, SendFlags::empty())?);
            self.stream.async_io(Interest::WRITABLE, send).await?;
        }
        self.send_bytes(&bytes[count..]).await
    }

    /// Sends one message, if the peer is there and the socket has room for all of it now. Fails when it was not
    /// sent. If a part was, which happens only if the peer does not read, the connection cannot be used any more.
    pub(crate) fn send_now(&self, message: &impl Serialize) -> io::Result<()> {
        let bytes = to_bytes(message)?;
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match rustix::net::send(&self.stream, &bytes, flags)? {
            count if count == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    async fn send_bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let send = || Ok(rustix::net::send(&self.stream, bytes, SendFlags::NOSIGNAL)?);
            let count = self.stream.async_io(Interest::WRITABLE, send).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    async fn read_some(&mut self) -> Result<usize, ReceiveError> {
        let mut chunk = [0; 4096];
        let (stream, descriptors) = (&self.stream, &mut self.descriptors);
        let read = || match self.descriptors_max {
            0 => Ok(rustix::io::read(stream, &mut chunk)?),
            most => read_with(stream, &mut chunk, descriptors, most),
        };
        let count = stream.async_io(Interest::READABLE, read).await?;
        if self.received.len() + count > self.limit {
            return Err(ReceiveError::TooLong(self.limit));
        }
        self.received.extend_from_slice(&chunk[..count]);
        Ok(count)
    }
}

fn to_bytes(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(0);
    Ok(bytes)
}

/// Reads bytes and their descriptors.
fn read_with(
    stream: &UnixStream,
    chunk: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    most: usize,
) -> io::Result<usize> {
    let carried = rights::receive(stream, chunk, RecvFlags::empty())?;
    descriptors.extend(carried.descriptors);
    if descriptors.len() > most {
        return Err(io::Error::other(
            "the peer sends more descriptors than were asked for",
        ));
    }
    Ok(carried.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::varlink::message::{Call, Reply};
    use serde_json::json;
    use std::os::fd::AsFd;

    fn pair(limit: usize) -> (VarlinkConnection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (VarlinkConnection::new(ours, limit), theirs)
    }

    #[tokio::test]
    async fn messages_arrive_one_by_one_however_they_are_cut() {
        let (mut connection, peer) = pair(1000);
        let bytes = b"{\"method\":\"a.B\"}\0{\"method\":\"a.C\",\"more\":true}\0";
        let (first, second) = bytes.split_at(20);
        peer.try_write(first).unwrap();
        let call: Call = connection.receive().await.unwrap().unwrap();
        assert_eq!((call.method.as_str(), call.more), ("a.B", false));
        peer.try_write(second).unwrap();
        drop(peer);
        let call: Call = connection.receive().await.unwrap().unwrap();
        assert_eq!((call.method.as_str(), call.more), ("a.C", true));
        assert!(connection.receive::<Call>().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_message_without_end_is_refused_at_the_limit() {
        let (mut connection, peer) = pair(8_000);
        peer.try_write(&[b' '; 9_000]).unwrap();
        let error = connection.receive::<Call>().await.unwrap_err();
        assert!(matches!(error, ReceiveError::TooLong(8_000)), "{error}");
        // The peer continues, and receives what is sent to it.
        peer.try_write(&[b' '; 20_000]).unwrap();
        connection.send_now(&json!({})).unwrap();
        connection.shutdown_write();
        let mut peer = peer.into_std().unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        peer.set_nonblocking(false).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut peer, &mut bytes).unwrap();
        assert_eq!(bytes, b"{}\0");
        drop(peer);
        connection.discard(1 << 20).await;
    }

    #[tokio::test]
    async fn half_a_message_and_garbage_are_errors() {
        let receive = async |bytes: &[u8]| {
            let (mut connection, peer) = pair(1000);
            peer.try_write(bytes).unwrap();
            drop(peer);
            connection.receive::<Call>().await.unwrap_err()
        };
        let half = receive(b"{\"method\":").await;
        assert!(matches!(half, ReceiveError::Lost(_)));
        let garbage = receive(b"\xff\xfe\0").await;
        assert!(matches!(garbage, ReceiveError::Malformed(_)));
    }

    #[tokio::test]
    async fn descriptors_arrive_with_their_message_and_only_where_they_are_expected() {
        let (mut sender, receiver) = pair(0);
        let mut receiver = VarlinkConnection::new(receiver, 1000);
        let (kept, sent) = std::os::unix::net::UnixStream::pair().unwrap();
        let reply = Reply::last(json!({ "count": 2 }));
        let fds = [sent.as_fd(), sent.as_fd()];
        sender.send_with(&reply, &fds).await.unwrap();
        assert_eq!(receiver.receive().await.unwrap(), Some(reply.clone()));
        assert_eq!(receiver.take_descriptors().len(), 0);

        receiver.accept_descriptors(2 * DESCRIPTORS_MAX + 1);
        sender.send_with(&reply, &fds).await.unwrap();
        assert_eq!(receiver.receive::<Reply>().await.unwrap(), Some(reply));
        drop(sent);
        let received = receiver.take_descriptors();
        assert_eq!(received.len(), 2);
        rustix::net::send(&received[1], b"x", SendFlags::empty()).unwrap();
        drop(received);
        // The descriptors that were not expected are closed: after the byte comes the end.
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &kept, &mut bytes).unwrap();
        assert_eq!(bytes, b"x");
        // More than one message can carry.
        let reply = Reply::last(json!({}));
        for count in [DESCRIPTORS_MAX, 2 * DESCRIPTORS_MAX + 1] {
            let many = vec![kept.as_fd(); count];
            sender.send_with(&reply, &many).await.unwrap();
            receiver.receive::<Reply>().await.unwrap().unwrap();
            assert_eq!(receiver.take_descriptors().len(), count);
        }
        let many = vec![kept.as_fd(); 2 * DESCRIPTORS_MAX + 2];
        sender.send_with(&reply, &many).await.unwrap();
        assert!(receiver.receive::<Reply>().await.is_err());
    }

    #[tokio::test]
    async fn after_the_end_of_reading_what_had_come_is_read_and_nothing_more_comes() {
        let (mut ours, theirs) = pair(1000);
        let theirs = VarlinkConnection::new(theirs, 0);
        theirs.send_now(&Reply::last(1)).unwrap();
        ours.shutdown_read();
        assert!(theirs.send_now(&Reply::last(2)).is_err());
        let reply: Option<Reply> = ours.receive().await.unwrap();
        assert_eq!(reply.unwrap().parameters, 1);
        assert_eq!(ours.receive::<Reply>().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_call_that_comes_while_waiting_for_the_end_is_kept() {
        let (mut connection, peer) = pair(1000);
        peer.try_write(b"{\"method\":\"a.B\"}\0").unwrap();
        drop(peer);
        connection.hung_up().await;
        assert!(connection.send_now(&json!({})).is_err());
        let call: Call = connection.receive().await.unwrap().unwrap();
        assert_eq!(call.method, "a.B");
    }
}
