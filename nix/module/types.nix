# Types for text that the programs and systemd parse, so that the evaluation of the configuration finds
# a mistake, and not the start of a service.
{ lib }:

let
  inherit (builtins) isInt isString match;

  addresses = import ./addresses.nix { inherit lib; };

  checked =
    name: description: check:
    lib.mkOptionType {
      inherit name description check;
      merge = lib.mergeEqualOption;
    };

  textOf = value: if isInt value then toString value else value;
  matches = pattern: value: match pattern (textOf value) != null;
  isText = value: isString value || isInt value;

  # As src/service/timespan.rs parses them.
  number = "([0-9]+[.]?[0-9]*|[.][0-9]+)";
  belowSeconds = "us|usec|µs|μs|ms|msec";
  seconds = "s|sec|second|seconds";
  aboveSeconds = "m|min|minute|minutes|h|hr|hour|hours|d|day|days|w|week|weeks|M|month|months|y|year|years";
  spans = units: " *(${number} *(${units})? *)+";

  isTimeSpan =
    value:
    isText value && matches "infinity|${spans "${belowSeconds}|${seconds}|${aboveSeconds}"}" value;
in
{
  timeSpan =
    checked "timeSpan"
      "time span as in systemd.time(7), such as \"5s\", \"1min 30s\" or \"infinity\"; a bare number is seconds"
      isTimeSpan;

  # The kernel counts keepalive in seconds, and the proxy refuses less than two.
  keepalive =
    checked "keepalive"
      "time span of at least 2s as in systemd.time(7), such as \"30s\" or \"2min\", or \"infinity\" for none"
      (
        value:
        isTimeSpan value
        && matches "infinity|${spans "${seconds}|${aboveSeconds}"}" value
        && !matches " *[01]?([.][0-9]*)? *(${seconds})? *" value
      );

  # Where a socket unit listens.
  listenAddress =
    checked "listenAddress"
      "port between 1 and 65535, or a string \"IPV4:PORT\", \"[IPV6]:PORT\" or \"/PATH\""
      (value: isText value && addresses.parse value != null);

  serviceName = checked "serviceName" "name of a service without \".service\"" (
    value: isString value && matches "[A-Za-z0-9@:_.-]+" value && !matches ".*[.]service" value
  );

  # The target of a proxy, as src/service/address.rs parses it.
  target = checked "target" "address \"HOST:PORT\", \"[IPV6]:PORT\", \"unix:/PATH\", \"vsock:CID:PORT\" or \"handover:/PATH\"" (
    value:
    isString value
    && (
      matches "(unix:)?/.{0,106}" value
      || matches "unix:@.{1,107}" value
      || matches "vsock:[0-9]+:[0-9]+" value
      || matches "handover:/.{0,106}" value
      || (!matches "vsock:.*" value && addresses.portOf (match "[A-Za-z0-9._-]+:([0-9]+)" value) != null)
      || addresses.portOf (match "\\[[0-9A-Fa-f:.]+]:([0-9]+)" value) != null
    )
  );
}
