//! Carries the bytes of one connection, and cuts it when its rule says so.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout};

use super::rule::{Tail, Verdict};
use super::{Flow, Shared};

const CHUNK_BYTES: usize = 16 * 1024;

/// A server that has begun to answer may still be at work on the rest of a pipelined batch: it is
/// listened to until it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(20);

/// How long a cut after the request waits for a server that never answers.
const REPLY_MAX: Duration = Duration::from_secs(5);

/// How soon a client that says goodbye closes.
const GOODBYE: Duration = Duration::from_millis(5);

/// How a direction ended.
enum End {
    /// The sender is done; the other direction may go on.
    Closed,
    /// A rule has cut the connection.
    Cut,
}

/// What the two directions of a connection tell each other.
#[derive(Default)]
struct Talk {
    /// The client has sent something that was not answered yet.
    asked: AtomicBool,
    /// The answer to it must not reach the client.
    swallow: AtomicBool,
}

/// Carries one connection to its end.
pub(super) async fn carry(client: TcpStream, shared: Arc<Shared>) {
    let _open = Open::new(&shared);
    let mut cut_all = shared.cut_all.subscribe();
    tokio::select! {
        // A socket error ends the connection as the peer's own end of it does.
        _ = converse(client, &shared) => {}
        () = async {
            // The proxy's own task holds the sender, so this ends by a change only.
            let _ = cut_all.changed().await;
            shared.count_cut();
        } => {}
    }
}

async fn converse(mut client: TcpStream, shared: &Shared) -> io::Result<End> {
    // A connection into a black hole is accepted (by the kernel, here) and gets no further.
    flow_when(shared, |flow| !flow.hold_requests).await;
    let mut server = TcpStream::connect(shared.upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let talk = Talk::default();
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let requests = requests(from_client, to_server, shared, &talk);
    let replies = replies(from_server, to_client, shared, &talk);
    tokio::pin!(replies);
    tokio::select! {
        ended = requests => match ended? {
            // The client has said its last word and may still wait for the answer.
            End::Closed => replies.await,
            End::Cut => Ok(End::Cut),
        },
        ended = &mut replies => ended,
    }
}

async fn requests(
    mut client: ReadHalf<'_>,
    mut server: WriteHalf<'_>,
    shared: &Shared,
    talk: &Talk,
) -> io::Result<End> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut tail = Tail::default();
    loop {
        let read = client.read(&mut buffer).await?;
        let flow = flow_when(shared, |flow| !flow.hold_requests).await;
        if read == 0 {
            server.shutdown().await?;
            return Ok(End::Closed);
        }
        let chunk = &buffer[..read];
        let begins = !talk.asked.swap(true, SeqCst);
        let verdict = {
            let mut state = shared.lock();
            state.stats.requests += u64::from(begins);
            let verdict = match &mut state.armed {
                None => Verdict::Forward,
                Some(armed) => armed.judge(chunk, begins, &mut tail),
            };
            state.stats.fired += u64::from(verdict != Verdict::Forward);
            verdict
        };
        if verdict == Verdict::Hold {
            shared.hold();
            flow_when(shared, |flow| !flow.hold_requests).await;
        }
        pause(flow).await;
        if matches!(verdict, Verdict::CutAt(_) | Verdict::CutOnReply)
            && says_goodbye(&mut client).await
        {
            server.write_all(chunk).await?;
            server.shutdown().await?;
            return Ok(End::Closed);
        }
        if let Verdict::CutAt(bytes) = verdict {
            server.write_all(&chunk[..bytes]).await?;
            shared.count_cut();
            return Ok(End::Cut);
        }
        // Before the server can answer: its answer must find the mark.
        if verdict == Verdict::CutOnReply {
            talk.swallow.store(true, SeqCst);
        }
        server.write_all(chunk).await?;
        if verdict == Verdict::CutOnReply {
            return rest_of_the_last_request(client, server, shared).await;
        }
    }
}

/// Whether the client closes right behind what it sent, as a pool does with a spare connection. No call
/// waits for that request, so cutting it would be no crash point.
async fn says_goodbye(client: &mut ReadHalf<'_>) -> bool {
    let mut next = [0];
    matches!(timeout(GOODBYE, client.peek(&mut next)).await, Ok(Ok(0)))
}

/// The direction of the replies makes the cut; until then the server must get all of the request.
async fn rest_of_the_last_request(
    mut client: ReadHalf<'_>,
    mut server: WriteHalf<'_>,
    shared: &Shared,
) -> io::Result<End> {
    let forwarded = timeout(REPLY_MAX, async {
        copy(&mut client, &mut server).await?;
        // The client is gone, the server still at work.
        pending().await
    });
    forwarded.await.unwrap_or_else(|_elapsed| {
        shared.count_cut();
        Ok(End::Cut)
    })
}

async fn replies(
    mut server: ReadHalf<'_>,
    mut client: WriteHalf<'_>,
    shared: &Shared,
    talk: &Talk,
) -> io::Result<End> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = server.read(&mut buffer).await?;
        if talk.swallow.load(SeqCst) {
            while let Ok(Ok(1..)) = timeout(QUIET, server.read(&mut buffer)).await {}
            shared.count_cut();
            return Ok(End::Cut);
        }
        let flow = flow_when(shared, |flow| !flow.hold_replies).await;
        if read == 0 {
            client.shutdown().await?;
            return Ok(End::Closed);
        }
        pause(flow).await;
        if talk.asked.swap(false, SeqCst) {
            shared.lock().stats.round_trips += 1;
        }
        client.write_all(&buffer[..read]).await?;
    }
}

/// Waits until bytes may flow, and says how.
async fn flow_when(shared: &Shared, flows: impl Fn(&Flow) -> bool) -> Flow {
    let mut changes = shared.flow.subscribe();
    // The sender lives in `shared`, so the wait can't end by its loss.
    changes
        .wait_for(flows)
        .await
        .map_or_else(|_| Flow::default(), |flow| *flow)
}

/// The delay of this direction. Even a sleep of no time would cost a tick of the timer.
async fn pause(flow: Flow) {
    if !flow.delay.is_zero() {
        sleep(flow.delay).await;
    }
}

/// Counts an open connection for as long as it lives.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        let mut state = shared.lock();
        state.stats.connections += 1;
        state.stats.open += 1;
        drop(state);
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.lock().stats.open -= 1;
    }
}
