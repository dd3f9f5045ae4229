//! What a proxy begins with: its listeners, its target, and how many connections there may be.

pub mod descriptors;
pub mod first_target;
pub mod keeping;
pub mod limits;
pub mod listening;
pub mod preparation;
pub mod resumption;
pub mod startup;
mod take_over;
