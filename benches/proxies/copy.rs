//! The proxy that one writes in an hour: tokio's `copy_bidirectional`, one task per connection, its
//! multi-threaded runtime, its defaults. A peer like the others, a process of its own.

use std::io;
use std::net::{SocketAddr, TcpListener};

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

/// Serves for ever.
pub fn run(listener: TcpListener, target: SocketAddr) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let (client, _) = listener.accept().await?;
                tokio::spawn(relay(client, target));
            }
        })
}

async fn relay(mut client: TcpStream, target: SocketAddr) -> io::Result<()> {
    let mut upstream = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}
