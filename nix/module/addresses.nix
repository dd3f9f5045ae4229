# Where sockets listen: a port, "IPV4:PORT", "[IPV6]:PORT" or "/PATH".
{ lib }:

let
  inherit (builtins)
    elemAt
    fromJSON
    isInt
    isString
    match
    ;

  # The port in the last group of a match, or null.
  portOf =
    groups:
    let
      digits = lib.last groups;
      port = if match "[1-9][0-9]{0,4}" digits == null then 0 else fromJSON digits;
    in
    if groups == null || port < 1 || port > 65535 then null else port;

  # { host; port; } or { path; }, or null if it is not an address. A port alone is that port on
  # every address of the machine.
  parse =
    address:
    let
      v4 = match "([0-9]{1,3}([.][0-9]{1,3}){3}):([0-9]+)" address;
      v6 = match "\\[([0-9A-Fa-f:.]+)]:([0-9]+)" address;
      tcp = groups: {
        host = elemAt groups 0;
        port = portOf groups;
      };
    in
    if isInt address then
      if address < 1 || address > 65535 then
        null
      else
        {
          host = "::";
          port = address;
        }
    else if !isString address then
      null
    else if match "/.{1,106}" address != null then
      { path = address; }
    else if portOf v4 != null then
      tcp v4
    else if portOf v6 != null then
      tcp v6
    else
      null;

  isV4 = host: match ".*:.*" host == null;

  # Whether two sockets cannot be open at the same time. "::" takes IPv4 too, BindIPv6Only=both.
  conflict =
    a: b:
    if a ? path || b ? path then
      a.path or null == b.path or null
    else
      a.port == b.port
      && (
        a.host == b.host
        || a.host == "::"
        || b.host == "::"
        || (a.host == "0.0.0.0" && isV4 b.host)
        || (b.host == "0.0.0.0" && isV4 a.host)
      );

  isLoopback = host: host == "::1" || match "127[.].*" host != null;
in
{
  inherit parse portOf;

  # The conflicting pairs { a; b; } in a list of { owner; address; }.
  conflicts =
    sockets:
    let
      after = index: lib.drop (index + 1) sockets;
      pairs = lib.concatLists (lib.imap0 (index: a: map (b: { inherit a b; }) (after index)) sockets);
    in
    lib.filter (pair: conflict (parse pair.a.address) (parse pair.b.address)) pairs;

  # The ports that other machines can reach.
  reachablePorts =
    list:
    map (address: address.port) (
      lib.filter (address: address ? port && !isLoopback address.host) (map parse list)
    );
}
