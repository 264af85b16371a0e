//! Connections that are cut, delayed, or lose replies.

use std::{sync::Arc, time::Duration};

use exactly_once_conformance::{
    faults::proxy::{Proxy, Rule, Trigger},
    seed::{CaseRng, Seed},
};
use tokio::time::sleep;

use super::{progress::Progress, world::World};

/// How often the network was in trouble, by how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Connections cut.
    pub cuts: u64,
    /// Times of delay.
    pub delays: u64,
    /// Times in which replies were held back.
    pub held: u64,
}

/// Troubles the network once in so many operations, until the load has ended.
pub async fn run(world: Arc<World>, progress: Arc<Progress>, seed: Seed, every: u64) -> Troubles {
    let mut random = seed.derive("network").rng();
    let mut troubles = Troubles::default();
    let mut due = every;
    while progress.reached(due).await {
        let proxies = world.network.all();
        let proxy = proxies[random.below(proxies.len())];
        once(proxy, &mut random, &mut troubles).await;
        proxy.set_delay(Duration::ZERO);
        proxy.set(Rule::Pass);
        due += every;
    }
    troubles.cuts = world
        .network
        .all()
        .iter()
        .map(|proxy| proxy.stats().cuts)
        .sum();
    troubles
}

async fn once(proxy: &Proxy, random: &mut CaseRng, troubles: &mut Troubles) {
    let nth = Trigger::Request(random.within(1..=20).unsigned_abs());
    let times = u32::try_from(random.within(1..=3)).unwrap_or(1);
    let moment = Duration::from_millis(random.within(20..=400).unsigned_abs());
    match random.below(8) {
        0 => proxy.cut_all(),
        1 => proxy.set(Rule::cut_before(nth).times(times)),
        // The reply is lost: the effect happened, and no caller knows.
        2 | 3 => proxy.set(Rule::cut_after(nth).times(times)),
        // In the words of Postgres and of Redis; the others have no such words.
        4 => proxy.set(Rule::cut_after(Trigger::contains("COMMIT")).times(times)),
        5 => proxy.set(Rule::cut_after(Trigger::contains("EVALSHA")).times(times)),
        6 => {
            proxy.set_delay(Duration::from_millis(random.within(2..=25).unsigned_abs()));
            troubles.delays += 1;
        }
        _ => {
            proxy.set(Rule::HoldReplies);
            troubles.held += 1;
            sleep(moment).await;
            if random.one_in(2) {
                proxy.cut_all();
            }
            return;
        }
    }
    sleep(moment).await;
}
