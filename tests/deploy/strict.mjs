// strict.mjs: checks manifests against the models of the Kubernetes client: unknown fields, wrong types.
//
// usage: node strict.mjs NODE_MODULES < manifests as a JSON array      prints one line per finding, exit code 1 if any
// Kinds that Kubernetes itself does not have (PodMonitor) are named on stderr and passed over.
import fs from 'node:fs';
import path from 'node:path';
import {pathToFileURL} from 'node:url';

const models = await import(
    pathToFileURL(path.resolve(process.argv[2], '@kubernetes/client-node/dist/gen/models/all.js')).href);
const scalars = {string: 'string', number: 'number', boolean: 'boolean', IntOrString: null, any: null, Date: 'string'};
const findings = [];

function modelOf({apiVersion, kind}) {
  const version = apiVersion.split('/').pop();
  return models[version[0].toUpperCase() + version.slice(1) + kind];
}

function check(value, type, where) {
  const list = /^Array<(.*)>$/.exec(type);
  const map = /^\{ \[key: string\]: (.*); \}$/.exec(type);
  if (list) {
    if (!Array.isArray(value)) return findings.push(`${where}: want a list`);
    value.forEach((entry, index) => check(entry, list[1], `${where}[${index}]`));
  } else if (map || models[type]?.getAttributeTypeMap) {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return findings.push(`${where}: want a map`);
    const fields = map ? null : new Map(models[type].getAttributeTypeMap().map(field => [field.baseName, field.type]));
    for (const [key, inner] of Object.entries(value)) {
      if (fields && !fields.has(key)) findings.push(`${where}.${key}: no field of ${type}`);
      else check(inner, map ? map[1] : fields.get(key), `${where}.${key}`);
    }
  } else if (scalars[type] && typeof value !== scalars[type]) {
    findings.push(`${where}: want a ${scalars[type]}, not ${JSON.stringify(value)}`);
  }
}

for (const manifest of JSON.parse(fs.readFileSync(0, 'utf8'))) {
  const model = modelOf(manifest);
  const where = `${manifest.kind} ${manifest.metadata?.name}`;
  if (model) check(manifest, model.name, where);
  else if (manifest.apiVersion.startsWith('monitoring.coreos.com/')) console.error(`passed over: ${where}`);
  else findings.push(`${where}: no such kind in ${manifest.apiVersion}`);
}
findings.forEach(finding => console.log(finding));
process.exit(findings.length ? 1 : 0);
