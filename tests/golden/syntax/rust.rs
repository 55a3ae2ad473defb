//! A shop.

use crate::price::{rates::*, self, Money as Cash};
use super::log;
mod parts;

mod inner {
    fn hidden() {}
}

/// One order.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    name: &'a str,
    lines: Vec<Line>,
}

pub enum Kind {
    Small,
    Large(u32),
}

/// Can be priced.
pub trait Priced: Named {
    fn price(&self) -> Cash;
    fn twice(&self) -> Cash {
        self.price() * 2
    }
}

impl<'a> Priced for Order<'a> {
    fn price(&self) -> Cash {
        let rate = price::rate(self.name);
        self.lines.iter().map(|line| line.total(rate, LIMIT)).sum()
    }
}

impl parts::Wheel {
    pub const SIZE: u32 = 4;
    pub fn new(size: u32) -> Self {
        Self { size: size, text: r#"a "quoted" b"#.into(), sign: 'x' }
    }
}

macro_rules! shout {
    ($x:expr) => {
        print($x)
    };
}

const LIMIT: u32 = 3;
type Pair = (u32, u32);

fn main() {
    if let Some(found) = lookup::<u32>("a") {
        log::info(found);
    }
}
