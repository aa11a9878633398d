// An HTTP server that answers with what it was sent, and 20 clients of it at once that check every byte.
const http = require("http");
const crypto = require("crypto");
const [role, host, port] = process.argv.slice(2);

function ask() {
  return new Promise((resolve, reject) => {
    const body = crypto.randomBytes(1000000);
    const request = http.request({ host, port, method: "POST", agent: false }, (response) => {
      const pieces = [];
      response.on("data", (piece) => pieces.push(piece));
      response.on("end", () => (Buffer.concat(pieces).equals(body) ? resolve() : reject(new Error("changed"))));
    });
    request.on("error", reject);
    request.end(body);
  });
}

if (role === "serve") {
  http.createServer((request, response) => request.pipe(response)).listen({ host, port });
} else {
  Promise.all(Array.from({ length: 20 }, ask)).then(() => process.exit(0), (error) => {
    console.error(error);
    process.exit(1);
  });
}
