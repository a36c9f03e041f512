// Run one invocation of a Node function (CommonJS); the program of the function's own process.
// Read the event from the invocation's folder, call the handler and write its answer there.
'use strict';
const fs = require('fs');
const https = require('https');
const path = require('path');

const env = process.env;
const deadline = Date.now() + Number(env.LOCAL_LAMBDA_TIMEOUT_SECONDS) * 1000;
const folder = env.LOCAL_LAMBDA_DIRECTORY;
delete env.LOCAL_LAMBDA_DIRECTORY;

const context = {
  functionName: env.AWS_LAMBDA_FUNCTION_NAME,
  functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
  invokedFunctionArn: env.LOCAL_LAMBDA_FUNCTION_ARN,
  memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
  awsRequestId: env.LOCAL_LAMBDA_REQUEST_ID,
  logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
  logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
  callbackWaitsForEmptyEventLoop: false,
  getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
};

// CDK's own handlers drop the port of the ResponseURL, which on AWS is always 443.
const endpoint = new URL(env.AWS_ENDPOINT_URL);
const plainRequest = https.request;
https.request = (options, ...rest) => {
  const portless = options?.hostname === endpoint.hostname && !options.port;
  return plainRequest(portless ? { ...options, port: endpoint.port } : options, ...rest);
};

async function invoke() {
  const [moduleName, name] = env._HANDLER.split('.');
  const handler = require(path.join(env.LAMBDA_TASK_ROOT, moduleName))[name];
  const event = JSON.parse(fs.readFileSync(path.join(folder, 'event.json'), 'utf8'));
  const payload = await handler(event, context);
  return { payload: payload === undefined ? null : payload };
}

function describe(error) {
  console.error(error);
  const payload = { errorMessage: String(error?.message ?? error), errorType: error?.name ?? 'Error' };
  return { payload, error: 'Unhandled' };
}

invoke()
  .catch(describe)
  .then((answer) => {
    fs.writeFileSync(path.join(folder, 'answer.json'), JSON.stringify(answer));
    process.exit(0);
  });
