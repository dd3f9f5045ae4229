//! Times, as options and unit files give them.
#![no_main]

use disnix_proxy_example::service::timespan::TimeSpan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(span) = text.parse::<TimeSpan>() {
        assert_eq!(span.to_string().parse::<TimeSpan>(), Ok(span));
    }
});
