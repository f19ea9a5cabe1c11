//! Slots, hash tags, and the map of the cluster: which primary owns which slot, learned from what nodes say.

mod adopt;
mod map;
mod slot;
mod view;

pub use adopt::adopt;
pub use map::{Node, NodeIndex, Topology};
pub use slot::{SLOTS, slot};
pub use view::{NodeView, View, ViewError};
