//! One end of a connection: messages in and out, with descriptors where they are wanted.

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
    /// The peer hung up, or the connection broke.
    #[error("the connection was lost: {0}")]
    Lost(#[from] io::Error),
    /// The message has more bytes than are accepted.
    #[error("a message has more than {0} bytes")]
    TooLong(usize),
    /// What came is not JSON, or not a message of the kind that was expected.
    #[error("a message could not be understood: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// One end of a Varlink connection.
#[derive(Debug)]
pub struct VarlinkConnection {
    stream: UnixStream,
    received: Vec<u8>,
    limit: usize,
    /// What came with the bytes, if descriptors are taken at all.
    descriptors: Option<Vec<OwnedFd>>,
    /// At most so many.
    descriptors_max: usize,
}

impl VarlinkConnection {
    /// A connection that holds at most `limit` bytes of what its peer sends.
    pub fn new(stream: UnixStream, limit: usize) -> Self {
        Self {
            stream,
            received: Vec::new(),
            limit,
            descriptors: None,
            descriptors_max: 0,
        }
    }

    /// Takes descriptors from now on, at most `most` until they are [taken](Self::take_descriptors).
    pub fn accept_descriptors(&mut self, most: usize) {
        self.descriptors = Some(Vec::new());
        self.descriptors_max = most;
    }

    /// The descriptors that have come until now.
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        self.descriptors
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// The next message; `None` when the peer has hung up between two messages. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or the message is too long or malformed. After an error the
    /// connection is of no more use.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ReceiveError> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == 0) {
                let message = serde_json::from_slice(&self.received[..end]);
                self.received.drain(..=end);
                if self.received.is_empty() {
                    self.received = Vec::new(); // an idle connection holds no buffer
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

    /// Waits until the peer hangs up or the connection breaks. Messages that come in the meantime
    /// are kept for [`Self::receive`]; more of them than the limit count as a break. Cancel safe.
    pub async fn hung_up(&mut self) {
        while let Ok(1..) = self.read_some().await {}
    }

    /// Takes what the peer sends, at most about so many bytes, and keeps none of it, until it hangs up or the
    /// connection breaks. Cancel safe.
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

    /// Sends one message. Not cancel safe: give the connection up when it is interrupted.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.send_bytes(&to_bytes(message)?).await
    }

    /// Says that nothing more is sent: the peer sees us hang up. What it still sends can be received.
    pub fn shutdown_write(&self) {
        // It fails when the peer has gone already.
        let _ = rustix::net::shutdown(&self.stream, Shutdown::Write);
    }

    /// Has every further attempt of the peer to send fail. What it has sent by now can be received.
    pub fn shutdown_read(&self) {
        let _ = rustix::net::shutdown(&self.stream, Shutdown::Read);
    }

    /// Sends one message and these descriptors with it, at least one: 253 with the first byte,
    /// as many with the second one and so on. Not cancel safe.
    ///
    /// # Errors
    ///
    /// When the connection breaks, too many descriptors are on their way to others (`ETOOMANYREFS`,
    /// unix(7)), or the message has too few bytes for all.
    pub async fn send_with(
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

    /// Sends one message if the peer is there and the socket has room for all of it at this moment.
    ///
    /// # Errors
    ///
    /// When it was not sent. If a part of it was, which happens only to a peer that does not read,
    /// the connection is of no more use.
    pub fn send_now(&self, message: &impl Serialize) -> io::Result<()> {
        let bytes = to_bytes(message)?;
        match rustix::net::send(
            &self.stream,
            &bytes,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        )? {
            count if count == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn read_some(&mut self) -> Result<usize, ReceiveError> {
        let mut chunk = [0; 4096];
        loop {
            self.stream.readable().await?;
            let read = match &mut self.descriptors {
                None => self.stream.try_read(&mut chunk),
                Some(descriptors) => {
                    let (stream, most) = (&self.stream, self.descriptors_max);
                    stream.try_io(Interest::READABLE, || {
                        read_with(stream, &mut chunk, descriptors, most)
                    })
                }
            };
            match read {
                Ok(count) if self.received.len() + count > self.limit => {
                    return Err(ReceiveError::TooLong(self.limit));
                }
                Ok(count) => {
                    self.received.extend_from_slice(&chunk[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn to_bytes(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(0);
    Ok(bytes)
}

/// Reads bytes and the descriptors that come with them.
fn read_with(
    stream: &UnixStream,
    chunk: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    most: usize,
) -> io::Result<usize> {
    let carried = rights::receive(stream, chunk, RecvFlags::empty())?;
    descriptors.extend(carried.descriptors);
    // The limit of open descriptors was reached, or somebody sends more than was asked for.
    if carried.is_truncated || descriptors.len() > most {
        return Err(io::Error::other(
            "descriptors were lost on the way: raise LimitNOFILE=",
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
        // The peer goes on, and hears what is said to it.
        peer.try_write(&[b' '; 20_000]).unwrap();
        connection.send_now(&json!({})).unwrap();
        connection.shutdown_write();
        drop(peer.into_std().map(|peer| {
            let _ = peer.shutdown(std::net::Shutdown::Write);
            let (mut peer, mut bytes) = (peer, Vec::new());
            peer.set_nonblocking(false).unwrap();
            std::io::Read::read_to_end(&mut peer, &mut bytes).unwrap();
            assert_eq!(bytes, b"{}\0");
        }));
        connection.discard(1 << 20).await;
    }

    #[tokio::test]
    async fn half_a_message_and_garbage_are_errors() {
        let (mut connection, peer) = pair(1000);
        peer.try_write(b"{\"method\":").unwrap();
        drop(peer);
        assert!(matches!(
            connection.receive::<Call>().await,
            Err(ReceiveError::Lost(_))
        ));
        let (mut connection, peer) = pair(1000);
        peer.try_write(b"\xff\xfe\0").unwrap();
        assert!(matches!(
            connection.receive::<Call>().await,
            Err(ReceiveError::Malformed(_))
        ));
    }

    #[tokio::test]
    async fn descriptors_arrive_with_their_message_and_only_where_they_are_expected() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut sender, mut receiver) = (
            VarlinkConnection::new(ours, 0),
            VarlinkConnection::new(theirs, 1000),
        );
        let (kept, sent) = std::os::unix::net::UnixStream::pair().unwrap();
        let reply = Reply::last(json!({ "count": 2 }));
        let fds = [sent.as_fd(), sent.as_fd()];
        sender.send_with(&reply, &fds).await.unwrap();
        assert_eq!(
            receiver.receive::<Reply>().await.unwrap(),
            Some(reply.clone())
        );
        assert_eq!(receiver.take_descriptors().len(), 0);

        receiver.accept_descriptors(2 * DESCRIPTORS_MAX + 1);
        sender.send_with(&reply, &fds).await.unwrap();
        assert_eq!(receiver.receive::<Reply>().await.unwrap(), Some(reply));
        drop(sent);
        let received = receiver.take_descriptors();
        assert_eq!(received.len(), 2);
        rustix::net::send(&received[1], b"x", SendFlags::empty()).unwrap();
        drop(received);
        // Those that were not expected are closed: after the byte comes the end.
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &kept, &mut bytes).unwrap();
        assert_eq!(bytes, b"x");
        // More than one send can carry.
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
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut ours, theirs) = (
            VarlinkConnection::new(ours, 1000),
            VarlinkConnection::new(theirs, 0),
        );
        theirs.send_now(&Reply::last(1)).unwrap();
        ours.shutdown_read();
        assert!(theirs.send_now(&Reply::last(2)).is_err());
        let reply: Option<Reply> = ours.receive().await.unwrap();
        assert_eq!(reply.unwrap().parameters, 1);
        assert_eq!(ours.receive::<Reply>().await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_sent_now_is_sent_or_is_not() {
        let (connection, peer) = pair(1000);
        connection.send_now(&json!({})).unwrap();
        let mut bytes = [0; 8];
        peer.readable().await.unwrap();
        assert_eq!(peer.try_read(&mut bytes).unwrap(), 3);
        drop(peer);
        assert!(connection.send_now(&json!({})).is_err());
    }

    #[tokio::test]
    async fn a_call_that_comes_while_waiting_for_the_end_is_kept() {
        let (mut connection, peer) = pair(1000);
        peer.try_write(b"{\"method\":\"a.B\"}\0").unwrap();
        drop(peer);
        connection.hung_up().await;
        assert_eq!(
            connection.receive::<Call>().await.unwrap().unwrap().method,
            "a.B"
        );
    }
}
