// A worker: where the nodes and edges of a graph go. Each connected part is laid out by itself, and the parts are packed in rows.
"use strict";
const GAP = 28;
const BACK = 400; // what one edge may be looked through for another way

self.onmessage = (event) => {
  const { library, nodes, width } = event.data;
  if (!self.dagre) importScripts(library);
  const placed = parts(nodes).map(laidOut);
  placed.sort((a, b) => b.width * b.height - a.width * a.height);
  self.postMessage(packed(placed, width));
};

// An edge is left out where a longer way says the same.
function reduced(nodes) {
  const waits = new Map(nodes.map((one) => [one.key, one.waits]));
  return new Map(nodes.map((one) => [one.key, one.waits.filter((direct) => {
    const todo = one.waits.filter((other) => other !== direct);
    const seen = new Set(todo);
    while (todo.length && seen.size < BACK) {
      for (const next of waits.get(todo.pop()) ?? []) {
        if (next === direct) return false;
        if (!seen.has(next)) { seen.add(next); todo.push(next); }
      }
    }
    return true;
  })]));
}

function parts(nodes) {
  const kept = nodes.some((one) => one.cyclic) ? new Map(nodes.map((one) => [one.key, one.waits])) : reduced(nodes);
  const near = new Map(nodes.map((one) => [one.key, new Set()]));
  for (const [key, waits] of kept) for (const other of waits) { near.get(key).add(other); near.get(other).add(key); }
  const byKey = new Map(nodes.map((one) => [one.key, one]));
  const seen = new Set();
  const found = [];
  for (const one of nodes) {
    if (seen.has(one.key)) continue;
    const part = [];
    const todo = [one.key];
    seen.add(one.key);
    while (todo.length) {
      const key = todo.pop();
      part.push({ ...byKey.get(key), waits: kept.get(key) });
      for (const other of near.get(key)) if (!seen.has(other)) { seen.add(other); todo.push(other); }
    }
    found.push(part);
  }
  return found;
}

function laidOut(part) {
  if (part.length === 1) {
    const [one] = part;
    return { width: one.width, height: one.height, nodes: [{ key: one.key, x: 0, y: 0 }], edges: [] };
  }
  const graph = new self.dagre.graphlib.Graph();
  graph.setGraph({ rankdir: "LR", nodesep: 12, ranksep: 46, ranker: part.length > 150 ? "longest-path" : "network-simplex" });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const one of part) graph.setNode(one.key, { width: one.width, height: one.height });
  for (const one of part) for (const other of one.waits) graph.setEdge(other, one.key);
  self.dagre.layout(graph);
  const { width, height } = graph.graph();
  const nodes = graph.nodes().map((key) => {
    const at = graph.node(key);
    return { key, x: at.x - at.width / 2, y: at.y - at.height / 2 };
  });
  return { width, height, nodes, edges: graph.edges().map((edge) => ({ from: edge.v, to: edge.w, points: graph.edge(edge).points })) };
}

function packed(placed, least) {
  const area = placed.reduce((sum, part) => sum + (part.width + GAP) * (part.height + GAP), 0);
  const wide = Math.max(least, Math.sqrt(area) * 1.3, ...placed.map((part) => part.width));
  let x = 0, y = 0, row = 0, right = 0;
  const nodes = [], edges = [];
  for (const part of placed) {
    if (x > 0 && x + part.width > wide) { x = 0; y += row + GAP; row = 0; }
    for (const one of part.nodes) nodes.push({ ...one, x: one.x + x, y: one.y + y });
    for (const edge of part.edges) edges.push({ ...edge, points: edge.points.map((at) => ({ x: at.x + x, y: at.y + y })) });
    right = Math.max(right, x + part.width);
    x += part.width + GAP;
    row = Math.max(row, part.height);
  }
  return { nodes, edges, width: right, height: y + row };
}
