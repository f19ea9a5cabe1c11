//! Slots, hash tags, and the map of the cluster: which primary owns which slot, learned from what nodes say.

mod adopt;
mod map;
mod ranges;
mod slot;
mod view;

pub use adopt::adopt;
pub use map::{Node, NodeIndex, Topology};
pub use ranges::{SLOTS, Slots};
pub use slot::slot;
pub use view::{Mark, NodeId, Own, Peer, PeerLink, PeerRole, View, ViewError, parse_view};
