// browser.cjs CHROMIUM URL: has the page of the chat room at URL talk in two tabs of this Chromium; what is not as it
// should be ends it with an error.
const assert = require("assert/strict");
const { chromium } = require("playwright-core");

const [executablePath, url] = process.argv.slice(2);
const flags = [
  "--headless",
  "--no-sandbox", // root has no other way
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const complaints = [];

async function tab(context) {
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.goto(url);
  await state(page, "connected");
  return page;
}

async function state(page, text) {
  await page.getByRole("status").and(page.getByText(text, { exact: true })).waitFor();
}

async function say(page, text) {
  await page.getByLabel("Message").fill(text);
  await page.getByRole("button", { name: "Send", exact: true }).click();
}

// Waits until each of these pages shows this line.
async function shown(text, ...pages) {
  for (const page of pages) await page.locator("#messages").getByText(text, { exact: true }).waitFor();
}

// Sends these bytes from one page, and waits until each shows and has them.
async function sendFile(from, bytes, ...pages) {
  await from.getByLabel("File").setInputFiles({ name: "bytes", mimeType: "application/octet-stream", buffer: bytes });
  await from.getByRole("button", { name: "Send file" }).click();
  for (const page of pages) {
    const link = page.getByText(`a file of ${bytes.length} bytes`, { exact: true });
    const got = await link.evaluate(async (link) => [...new Uint8Array(await (await fetch(link.href)).arrayBuffer())]);
    assert.ok(bytes.equals(Buffer.from(got)), "the file that came is another");
  }
}

async function talk(context) {
  const ada = await tab(context);
  const bob = await tab(context);
  await shown("* guest 2 joined", ada);
  await say(ada, "/name ada");
  await say(bob, "/name bob");
  await shown("* guest 1 is now ada", ada, bob);
  await shown("* guest 2 is now bob", ada, bob);

  await say(ada, "hello bob");
  await shown("ada: hello bob", ada, bob);
  await say(bob, "grüße, <b>ada</b> 👋");
  await shown("bob: grüße, <b>ada</b> 👋", ada, bob);
  await sendFile(ada, Buffer.from(Uint8Array.from({ length: 256 }, (_, at) => at)), ada, bob);
  await sendFile(bob, Buffer.alloc(100_000, 0xff), ada, bob);

  await say(bob, "/name ada");
  await shown("* ada is taken: choose another name", bob);
  await say(bob, "/quit");
  await state(bob, "closed with 1000");
  await shown("* bob left", ada);

  await bob.reload();
  await shown("* guest 3 joined", ada);
  await ada.close();
  await shown("* ada left", bob);
}

(async () => {
  const browser = await chromium.launch({ executablePath, args: flags });
  try {
    await talk(await browser.newContext());
    assert.deepEqual(complaints, []);
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error, ...complaints);
  process.exitCode = 1;
});
