// Reads a JSON list of LogQL expressions and writes a list of the same length: null for one that Grafana's grammar
// takes, else where it does not, as [from, to] in characters.
const { parser } = require('@grafana/lezer-logql');
const { readFileSync } = require('node:fs');

function firstError(expression) {
  let found = null;
  parser.parse(expression).iterate({
    enter(node) {
      if (node.type.isError && found === null) found = [node.from, node.to];
    },
  });
  return found;
}

const expressions = JSON.parse(readFileSync(0, 'utf8'));
process.stdout.write(JSON.stringify(expressions.map(firstError)));
