// Compares templates with CDK's differ and follows changes through every reference.
// Reads [[base, head], ...] as JSON from standard input and writes one result for each pair.
'use strict';

const { dirname, join } = require('node:path');

const library = dirname(require.resolve('@aws-cdk/cloudformation-diff'));

// CDK's checks of permissions and security groups throw on policies without a document, or with a function in its place.
// The gate checks permissions itself, so there it is enough to report a change.
function fallBackOnError(module, name, answer) {
  const loaded = require(join(library, module));
  loaded[name] = new Proxy(loaded[name], {
    construct(original, [properties]) {
      try {
        return new original(properties);
      } catch {
        return answer;
      }
    },
  });
}
fallBackOnError('iam/iam-changes', 'IamChanges', { permissionsBroadened: true, hasChanges: true });
fallBackOnError('network/security-group-changes', 'SecurityGroupChanges', { rulesAdded: true, hasChanges: true });

const { fullDiff, ResourceImpact } = require('@aws-cdk/cloudformation-diff');

const REPLACED = [ResourceImpact.WILL_REPLACE, ResourceImpact.MAY_REPLACE];
const MARK = ' (changed)';

const isCustom = (resource) =>
  /^Custom::|^AWS::CloudFormation::CustomResource$/.test(resource?.Type ?? '');

const same = (left, right) => JSON.stringify(left) === JSON.stringify(right);

// CDK's differ follows a replaced resource only through plain Ref and Fn::GetAtt: not into Fn::Join or Fn::Sub, and not
// from a custom resource, whose attributes may change whenever one of its properties does.
function markReferences(node, id) {
  if (Array.isArray(node)) return node.map((item) => markReferences(item, id)).some(Boolean);
  if (node === null || typeof node !== 'object') return false;
  let marked = false;
  for (const [key, value] of Object.entries(node)) marked = markEntry(node, key, value, id) || marked;
  return marked;
}

function markEntry(node, key, value, id) {
  if (key === 'Ref' && value === id) return Boolean((node[key] = id + MARK));
  if (key === 'Fn::GetAtt') return markAttribute(node, value, id);
  if (key === 'Fn::Sub') return markText(node, value, id);
  if (key === 'DependsOn') return false;
  return markReferences(value, id);
}

function markAttribute(node, value, id) {
  const [target, ...attribute] = typeof value === 'string' ? value.split('.') : value;
  if (target !== id) return false;
  node['Fn::GetAtt'] = [id + MARK, ...attribute];
  return true;
}

function markText(node, value, id) {
  const [text, variables] = Array.isArray(value) ? value : [value, undefined];
  const inVariables = markReferences(variables, id);
  const marked = text.replace(new RegExp(`\\$\\{${id}(\\.[^}]*)?\\}`, 'g'), (found) => found + MARK);
  if (marked !== text) node['Fn::Sub'] = variables ? [marked, variables] : marked;
  return inVariables || marked !== text;
}

function changedCustomResources(base, head) {
  const ids = Object.keys(head.Resources ?? {}).filter((id) => isCustom(head.Resources[id]));
  return ids.filter((id) => base.Resources?.[id] && !same(base.Resources[id].Properties, head.Resources[id].Properties));
}

function replacedResources(difference) {
  const ids = [];
  difference.resources.forEachDifference((id, change) => {
    if (REPLACED.includes(change.changeImpact)) ids.push(id);
  });
  return ids;
}

// Marks references to changed resources until no more change; returns the changed resources each resource refers to.
function follow(base, head) {
  const followed = structuredClone(head);
  const seen = new Set();
  for (;;) {
    const difference = fullDiff(base, followed);
    const found = [...changedCustomResources(base, followed), ...replacedResources(difference)];
    const fresh = found.filter((id) => !seen.has(id));
    if (fresh.length === 0) return { difference, causes: causesIn(followed) };
    for (const id of fresh) {
      seen.add(id);
      markReferences(followed.Resources, id);
    }
  }
}

function causesIn(followed) {
  const causes = {};
  for (const [id, resource] of Object.entries(followed.Resources ?? {})) {
    const text = JSON.stringify(resource.Properties ?? {});
    causes[id] = Object.keys(followed.Resources).filter((other) => text.includes(other + MARK) || text.includes(`${other}}${MARK}`));
  }
  return causes;
}

function describe(change) {
  const properties = {};
  change.forEachDifference((kind, name, value) => {
    if (kind === 'Property') properties[name] = value.changeImpact ?? 'WILL_UPDATE';
  });
  return { impact: change.changeImpact, properties };
}

function compare([base, head]) {
  const plain = fullDiff(base, head);
  const { difference, causes } = follow(base, head);
  const resources = {};
  difference.resources.forEachDifference((id, change) => {
    resources[id] = { ...describe(change), causes: causes[id] ?? [] };
  });
  const rules = plain.securityGroupChanges;
  return { resources, permissions_broadened: plain.permissionsBroadened, network_broadened: rules.rulesAdded };
}

const chunks = [];
process.stdin.on('data', (chunk) => chunks.push(chunk));
process.stdin.on('end', () => {
  const pairs = JSON.parse(Buffer.concat(chunks).toString());
  process.stdout.write(JSON.stringify(pairs.map(compare)));
});
