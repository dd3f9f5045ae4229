//! What the shapes look like, by their class, on light ground and on dark.

/// The content of the `style` element.
pub const STYLE: &str = "
  text { font: 13px system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 19px; font-weight: 600 } .name, .phase { font-weight: 600 }
  .said { font-size: 11px } .small { font-size: 12px; fill: #59636e } .middle { text-anchor: middle } .end { text-anchor: end }
  .card { fill: #ffffff; stroke: #d1d9e0 } .line { stroke: #d1d9e0; fill: none } .border { stroke: #818b98; stroke-dasharray: 2 3 }
  .draining { fill: #9a6700; fill-opacity: .07 } .locked { fill: #9a6700; fill-opacity: .16 }
  .one { fill: #2f81f7 } .two { fill: #12908e } .waiting { fill: #e8a317 } .failed { fill: #d1242f }
  .guest { fill: #8250df } .proxy { fill: #7d8590 } .dot, .said { fill: #ffffff }
  .kill { stroke: #d1242f; stroke-dasharray: 1 3 } .cross { stroke: #ffffff; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 }
    .card { fill: #0d1117; stroke: #3d444d } .line { stroke: #3d444d } .border { stroke: #656c76 }
    .draining { fill: #e3b341; fill-opacity: .09 } .locked { fill: #e3b341; fill-opacity: .2 }
    .one { fill: #4493f8 } .two { fill: #2bb3a9 } .waiting { fill: #e3a32b } .failed { fill: #f85149 }
    .guest { fill: #ab7df8 } .proxy { fill: #7d8590 } .dot, .said { fill: #0d1117 }
    .kill { stroke: #f85149 } .cross { stroke: #0d1117 }
  }
";
