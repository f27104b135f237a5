//! What comes from servers: files by HTTP, and whatever is made of them. The bake itself never touches the network: what a
//! request names is a verified file before it is prepared.

pub mod registry;
pub mod transfer;
