//! What tools have printed is read, and their errors are errors.

#[path = "../../benches/proxies/tools/outputs.rs"]
mod reading;

use reading::{Output, ab, h2load, iperf3, pgbench, redis, wrk};

const AB: &str = include_str!("recorded/ab.txt");
const H2LOAD: &str = include_str!("recorded/h2load.txt");
const PGBENCH: &str = include_str!("recorded/pgbench.txt");
const PGBENCH_NEW: &str = include_str!("recorded/pgbench-new.txt");
const REDIS: &str = include_str!("recorded/redis.csv");
const REDIS_NEW: &str = include_str!("recorded/redis-new.csv");
const WRK: &str = include_str!("recorded/wrk.txt");
const WRK_CLOSE: &str = include_str!("recorded/wrk-close.txt");

fn output(count: u64, rate: f64, p99: Option<f64>) -> Output {
    Output { count, rate, p99 }
}

#[test]
fn the_figures_of_wrk_are_read() {
    assert_eq!(wrk(WRK), Ok(output(131_966, 119_991.02, Some(910.0))));
    assert_eq!(wrk(WRK_CLOSE), Ok(output(29_365, 29_312.85, Some(3_100.0))));
    let slow = WRK.replace("0.91ms", "1.50s");
    assert_eq!(wrk(&slow).unwrap().p99, Some(1_500_000.0));
    let fast = WRK.replace("0.91ms", "91.00us");
    assert_eq!(wrk(&fast).unwrap().p99, Some(91.0));
}

#[test]
fn errors_of_wrk_are_errors() {
    for error in [
        "  Socket errors: connect 0, read 3, write 0, timeout 0",
        "  Non-2xx or 3xx responses: 4",
    ] {
        assert_eq!(
            wrk(&format!("{WRK}{error}")),
            Err(format!("wrk: {}", error.trim()))
        );
    }
}

#[test]
fn the_figures_of_ab_are_read_and_its_errors_are_errors() {
    assert_eq!(ab(AB), Ok(output(300, 300.0 / 0.012, None)));
    let failed = AB.replace("Failed requests:        0", "Failed requests:        2");
    assert_eq!(ab(&failed), Err("ab: 2 requests have failed".to_owned()));
    let refused = format!("{AB}Non-2xx responses:      7\n");
    assert_eq!(
        ab(&refused),
        Err("ab: Non-2xx responses:      7".to_owned())
    );
}

#[test]
fn the_figures_of_h2load_are_read_and_its_errors_are_errors() {
    assert_eq!(h2load(H2LOAD), Ok(output(300, 11_285.41, None)));
    let failed = H2LOAD.replace("300 succeeded, 0 failed", "296 succeeded, 4 failed");
    assert_eq!(
        h2load(&failed),
        Err("h2load: 4 requests have failed".to_owned())
    );
}

#[test]
fn the_figures_of_redis_benchmark_are_read() {
    assert_eq!(
        redis(REDIS, 3_000),
        Ok(output(3_000, 93_749.99, Some(1_327.0)))
    );
    assert_eq!(
        redis(REDIS_NEW, 2_000),
        Ok(output(2_000, 20_618.56, Some(5_615.0)))
    );
    let warned = format!("WARNING: no CONFIG\n{REDIS}");
    assert_eq!(redis(&warned, 3_000), redis(REDIS, 3_000));
}

#[test]
fn the_figures_of_pgbench_are_read_and_its_errors_are_errors() {
    assert_eq!(pgbench(PGBENCH), Ok(output(26_462, 27_754.091_741, None)));
    assert_eq!(pgbench(PGBENCH_NEW), Ok(output(219, 216.952_618, None)));
    let failed = PGBENCH.replace(
        "failed transactions: 0 (0.000%)",
        "failed transactions: 5 (0.019%)",
    );
    assert_eq!(
        pgbench(&failed),
        Err("pgbench: 5 requests have failed".to_owned())
    );
}

#[test]
fn the_figures_of_iperf3_are_read_and_its_errors_are_errors() {
    let text =
        r#"{"end": {"sum_received": {"bytes": 2092957696, "bits_per_second": 16741786487.9}}}"#;
    assert_eq!(
        iperf3(text),
        Ok(output(2_092_957_696, 16_741_786_487.9 / 8.0, None))
    );
    let failed = r#"{"end": {}, "error": "unable to connect to server"}"#;
    let said = "iperf3: \"unable to connect to server\"";
    assert_eq!(iperf3(failed), Err(said.to_owned()));
    assert!(iperf3("{}").is_err());
}

type Parser = fn(&str) -> Result<Output, String>;

#[test]
fn what_is_cut_off_or_of_another_tool_is_an_error() {
    let all = [AB, H2LOAD, PGBENCH, REDIS, WRK];
    let parse: [Parser; 5] = [ab, h2load, pgbench, |text| redis(text, 1), wrk];
    for (of, text) in all.iter().enumerate() {
        for (by, parse) in parse.iter().enumerate() {
            assert_eq!(parse(text).is_ok(), of == by, "{text}");
            assert!(parse(&text[..text.len() / 4]).is_err(), "{text}");
        }
    }
}

#[test]
fn the_time_between_two_runs_does_not_count() {
    let both = output(100, 50.0, None).and(&output(300, 300.0, None));
    assert_eq!(both, output(400, 400.0 / 3.0, None));
}
