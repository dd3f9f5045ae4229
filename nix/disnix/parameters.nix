# The parameters of the services in the Disnix models: description, type and default of each.
# Each function takes the parameters of a model and returns the complete set, or throws an error.
{ lib }:

let
  inherit (builtins)
    attrNames
    concatStringsSep
    filter
    hasAttr
    isAttrs
    isBool
    isInt
    isString
    match
    stringLength
    toJSON
    typeOf
    ;

  addresses = import ../module/addresses.nix { inherit lib; };

  # Types

  type = description: check: { inherit description check; };

  nullOr = other: type "${other.description}, or null" (value: value == null || other.check value);

  bool = type "true or false" isBool;

  text = type "text in one line" (value: isString value && match "[^\n]*" value != null);

  count = type "a whole number, 1 or more" (value: isInt value && value >= 1);

  port = type "a port, 1 to 65535" (value: isInt value && value >= 1 && value <= 65535);

  tcpAddress = type "a port, \"IPV4:PORT\" or \"[IPV6]:PORT\"" (value: addresses.parse value ? port);

  package = type "a package" (value: isAttrs value && value ? outPath);

  # systemd.time(7)
  finiteTimeSpan = type "a time span such as \"90s\" or \"1min 30s\"" (
    value: isString value && match "([0-9]+(\\.[0-9]+)? *[a-zA-Zµ]* *)+" value != null
  );

  timeSpan = type "${finiteTimeSpan.description}, or \"infinity\"" (
    value: value == "infinity" || finiteTimeSpan.check value
  );

  requestKind = type "\"lines\" or \"http\", or null" (
    value: builtins.elem value [
      null
      "lines"
      "http"
    ]
  );

  # The name becomes part of a user's name: dtp-NAME-PORT must fit into 31 characters.
  instanceName = type "1 to 21 of the characters A-Z a-z 0-9 _ -" (
    value: isString value && match "[A-Za-z0-9_-]+" value != null && stringLength value <= 21
  );

  groupName = type "the name of a group" (
    value: isString value && match "[a-z_][a-z0-9_-]*" value != null
  );

  # Checking

  show =
    value:
    if value == null || isBool value || isInt value || isString value then
      toJSON value
    else
      "a ${typeOf value}";

  check =
    service: declared: given:
    let
      unknown = filter (name: !hasAttr name declared) (attrNames given);

      valueOf =
        name: parameter:
        let
          value =
            given.${name} or parameter.default
              or (throw "${service}: the parameter ${name} is missing: ${parameter.type.description}");
        in
        if parameter.type.check value then
          value
        else
          throw "${service}: ${name} is ${show value}, but it must be ${parameter.type.description}";
    in
    if unknown != [ ] then
      throw "${service}: there is no parameter ${concatStringsSep ", " unknown}; there are ${concatStringsSep ", " (attrNames declared)}"
    else
      lib.mapAttrs valueOf declared;

  declarations = {
    hello_world_server = {
      port = {
        description = "Where it listens.";
        type = port;
      };
      package = {
        description = "The programs.";
        type = package;
      };
      enableSystemdSocketActivation = {
        description = "Let systemd hold the listening socket and start the server for the first client.";
        type = bool;
        default = false;
      };
      exitIdleTime = {
        description = "Exit when no connection was open for this time. Only with socket activation.";
        type = timeSpan;
        default = "30s";
      };
      drainTimeout = {
        description = "How long open connections may continue when the server is stopped.";
        type = timeSpan;
        default = "30s";
      };
      bindTimeout = {
        description = "How long to wait for an address that the previous server still uses. Only without socket activation.";
        type = timeSpan;
        default = "10s";
      };
      connectionsMax = {
        description = "The most connections open at a time; further clients wait.";
        type = nullOr count;
        default = null;
      };
      greeting = {
        description = "The answer to hello.";
        type = nullOr text;
        default = null;
      };
    };

    disnix_tcp_proxy = {
      port = {
        description = "Where clients arrive.";
        type = port;
      };
      package = {
        description = "The programs.";
        type = package;
      };
      instanceName = {
        description = "The service behind it. With the port it is the name of the instance, for disnix-tcp-proxyctl --instance.";
        type = instanceName;
        default = "hello-world";
      };
      exitIdleTime = {
        description = "Exit when no connection was open for this time; the next client starts it again. Only under systemd.";
        type = timeSpan;
        default = "10min";
      };
      bindTimeout = {
        description = "How long to wait for an address that the previous proxy still uses. Not under systemd.";
        type = timeSpan;
        default = "10s";
      };
      connectTimeout = {
        description = "How long to retry the server while a client waits.";
        type = timeSpan;
        default = "30s";
      };
      drainTimeout = {
        description = "How long open connections may continue when the proxy is stopped. Under systemd they continue in the next process instead.";
        type = timeSpan;
        default = "30s";
      };
      idleTimeout = {
        description = "Reset a connection that carried nothing for this time.";
        type = timeSpan;
        default = "infinity";
      };
      keepalive = {
        description = "A peer that does not answer for this time counts as vanished.";
        type = timeSpan;
        default = "2min";
      };
      connectionsMax = {
        description = "The most connections open at a time; further clients wait.";
        type = nullOr count;
        default = null;
      };
      connectionsMaxPerSource = {
        description = "The most connections open at a time from one source, an IPv4 address or a /64 of IPv6; further clients from there are reset.";
        type = nullOr count;
        default = null;
      };
      stallTimeout = {
        description = "Reset a connection whose receiver accepts no data for this time while data is pending.";
        type = timeSpan;
        default = "10min";
      };
      requests = {
        description = "How a request and its reply are recognised, so that clients stay connected during an upgrade of the server: lines for the hello world server. It is a promise that no request depends on an earlier one of its connection: a protocol with logins, SELECT, MULTI or greetings is corrupted by lines. If the server does not reply to each line with exactly one line, the next line of the client waits for ever. With null no request is recognised, and the upgrade waits until clients have left.";
        type = requestKind;
        default = null;
      };
      detachIdle = {
        description = "End the connection to the server when no request was under way for this time, and keep that of the client. Only with requests.";
        type = timeSpan;
        default = "infinity";
      };
      health = {
        description = "Where a load balancer asks over HTTP whether clients pass. A port alone is that port on every address of the machine.";
        type = nullOr tcpAddress;
        default = null;
      };
      lease = {
        description = "How long a proxy that was deactivated while locked keeps its socket open for the next version.";
        type = finiteTimeSpan;
        default = "15min";
      };
      operators = {
        description = "The group whose members may lock and control the proxy. It must exist. Only under systemd.";
        type = groupName;
        default = "root";
      };
    };

    hello_world_route = {
      package = {
        description = "The programs.";
        type = package;
      };
      drainTimeout = {
        description = "How long an upgrade waits for open connections to end. Then it gives up, and no client is disconnected.";
        type = timeSpan;
        default = "5min";
      };
      progressTimeout = {
        description = "Give the upgrade up when no client has left for this time: some clients need a new connection before they close an old one.";
        type = timeSpan;
        default = "infinity";
      };
      closeIdle = {
        description = "Close a connection during an upgrade when it has been idle for this time: for clients that keep their connections.";
        type = timeSpan;
        default = "infinity";
      };
      lease = {
        description = "The longest time between the drain and the unlock. Then the gate opens by itself.";
        type = finiteTimeSpan;
        default = "15min";
      };
      startTimeout = {
        description = "How long the new server may take until the proxy's machine can connect to it. Then the activation fails, and Disnix goes back to the old one. With null it is not checked.";
        type = nullOr timeSpan;
        default = "30s";
      };
      reason = {
        description = "Why it is locked, for disnix-tcp-proxyctl status and the journal.";
        type = text;
        default = "disnix";
      };
    };
  };
in
{
  inherit declarations;
  server = check "hello_world_server" declarations.hello_world_server;
  proxy = check "disnix_tcp_proxy" declarations.disnix_tcp_proxy;
  route = check "hello_world_route" declarations.hello_world_route;
}
