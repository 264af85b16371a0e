//! Where a cluster's nodes are to be had, if not where they say they are.
//!
//! A node announces the address by which the other nodes find it. Behind NAT, in a container or at
//! the end of a tunnel that address leads nowhere, or past a proxy that was meant to be used.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use exactly_once_core::{ErrorKind, Result};
use redis::{RedisFuture, io::AsyncDNSResolver};

use super::error::error;

/// Announced host and port, and where that node is from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NatMap(Arc<BTreeMap<(String, u16), SocketAddr>>);

impl NatMap {
    pub(super) fn of(nodes: Vec<(String, SocketAddr)>) -> Result<Self> {
        let mut map = BTreeMap::new();
        for (announced, here) in nodes {
            let name = split(&announced).ok_or_else(|| {
                error(ErrorKind::Invalid, "connect").with_message(format!(
                    "the NAT map has {announced:?}, which is no `host:port` as CLUSTER SLOTS tells it"
                ))
            })?;
            map.insert(name, here);
        }
        Ok(Self(Arc::new(map)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn here(&self, host: &str, port: u16) -> Option<SocketAddr> {
        self.0.get(&(host.to_owned(), port)).copied()
    }
}

/// An IPv6 address may stand in brackets; the driver asks for it without.
fn split(announced: &str) -> Option<(String, u16)> {
    let (host, port) = announced.rsplit_once(':')?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    if host.is_empty() {
        return None;
    }
    Some((host.to_owned(), port.parse().ok()?))
}

impl AsyncDNSResolver for NatMap {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = match self.here(host, port) {
                Some(here) => vec![here],
                None => tokio::net::lookup_host((host, port)).await?.collect(),
            };
            Ok(Box::new(addresses.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send + 'a>)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_by_the_name_that_they_announce() {
        let here = SocketAddr::from(([127, 0, 0, 1], 7000));
        let nodes = ["10.0.0.1:6379", "[fd00::1]:6379", "node.example:6380"];
        let map = NatMap::of(nodes.map(|node| (node.to_owned(), here)).to_vec()).unwrap();
        for (host, port) in [
            ("10.0.0.1", 6379),
            ("fd00::1", 6379),
            ("node.example", 6380),
        ] {
            assert_eq!(map.here(host, port), Some(here), "{host}");
        }
        assert_eq!(map.here("10.0.0.1", 6380), None);
        assert_eq!(map.here("10.0.0.2", 6379), None);
    }

    #[test]
    fn what_names_no_node_is_refused() {
        let here = SocketAddr::from(([127, 0, 0, 1], 7000));
        for wrong in [
            "",
            "10.0.0.1",
            ":6379",
            "10.0.0.1:",
            "10.0.0.1:65536",
            "redis://h:x",
        ] {
            let refused = NatMap::of(vec![(wrong.to_owned(), here)]).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{wrong}");
            assert!(refused.to_string().contains("host:port"), "{refused}");
        }
    }
}
