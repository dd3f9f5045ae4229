//! What is measured: [`column`] is a load with its figures, [`all`] are all of them with their goals.

pub mod all;
pub mod column;
