#!/usr/bin/env node
// `npx cdk` in this folder runs the CDK CLI pinned in package-lock.json and installs it first if it is missing.
// Otherwise npx in a fresh clone would fetch npm's `latest`, which has been a broken release.
"use strict";

const { spawnSync } = require("node:child_process");
const path = require("node:path");

const project = path.dirname(__dirname);

function installed() {
  try {
    return require.resolve("aws-cdk/bin/cdk", { paths: [project] });
  } catch {
    return undefined;
  }
}

if (!installed()) {
  console.error("installing the pinned CDK command line (npm ci)");
  const npm = spawnSync("npm", ["ci", "--silent", "--no-fund", "--no-audit"], { cwd: project, stdio: ["ignore", 2, 2] });
  if (npm.status !== 0) process.exit(npm.status ?? 1);
}
require(installed());
