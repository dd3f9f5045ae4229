//! What is measured at each number of connections.

use crate::figure::figure;

/// One of the figures.
pub struct Figure {
    /// At the head of the tables.
    pub name: &'static str,
    /// Digits after the point.
    pub digits: usize,
    /// What may grow as fast as the number of connections, unless another figure says the same.
    pub cost: Option<Cost>,
}

/// What a figure costs all connections together, or one of them that waits for it.
pub struct Cost {
    /// Above the plot.
    pub name: &'static str,
    /// Of the figure and the number of connections.
    pub of: fn(f64, f64) -> f64,
}

/// How many there are.
pub const COUNT: usize = 9;

/// A value for each, if it was measured.
pub type Values = [Option<f64>; COUNT];

/// All of them, in the order of the tables.
pub static ALL: [Figure; COUNT] = [
    Figure {
        name: "µs to open one",
        digits: 0,
        cost: Some(Cost {
            name: "opening all connections, s",
            of: |micros, number| micros * number / 1e6,
        }),
    },
    Figure {
        name: "requests/s",
        digits: 0,
        cost: Some(Cost {
            name: "from one reply to the next, µs",
            of: |rate, _| 1e6 / rate,
        }),
    },
    Figure {
        name: "CPU µs each",
        digits: 2,
        cost: Some(Cost {
            name: "CPU of the proxy for a request, µs",
            of: |micros, _| micros,
        }),
    },
    Figure {
        name: "wake-ups each",
        digits: 3,
        cost: Some(Cost {
            name: "wake-ups of the proxy for a request",
            of: |wakeups, _| wakeups,
        }),
    },
    Figure {
        name: "memory, MiB",
        digits: 1,
        cost: Some(Cost {
            name: "memory of the proxy, MiB",
            of: |mebibytes, _| mebibytes,
        }),
    },
    Figure {
        name: "KiB a connection",
        digits: 2,
        cost: None,
    },
    Figure {
        name: "`connections`, ms",
        digits: 0,
        cost: Some(Cost {
            name: "disnix-tcp-proxyctl connections, ms",
            of: |millis, _| millis,
        }),
    },
    Figure {
        name: "process killed: pause, ms",
        digits: 0,
        cost: Some(Cost {
            name: "pause when the process is killed, ms",
            of: |millis, _| millis,
        }),
    },
    Figure {
        name: "all killed: pause, ms",
        digits: 0,
        cost: Some(Cost {
            name: "pause when all processes are killed, ms",
            of: |millis, _| millis,
        }),
    },
];

/// In one line.
pub fn say(values: &Values) -> String {
    let said = ALL.iter().zip(values).filter_map(|(it, value)| {
        let value = figure((*value)?, it.digits);
        Some(format!("{value} {}", it.name))
    });
    said.collect::<Vec<_>>().join(", ")
}
