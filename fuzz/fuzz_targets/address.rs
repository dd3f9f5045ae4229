//! Addresses, as options, `set-target` and a predecessor give them.
#![no_main]

use disnix_proxy_example::service::address::Address;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse::<Address>(), Ok(address));
    }
    if let Ok(address) = Address::parse_target(text) {
        assert_eq!(address.to_string().parse::<Address>(), Ok(address));
    }
    if let Ok(address) = Address::parse_listen(text) {
        assert_eq!(Address::parse_listen(&address.to_string()), Ok(address));
    }
});
