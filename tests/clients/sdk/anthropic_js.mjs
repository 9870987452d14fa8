// JS @anthropic-ai/sdk: a plain and a streamed step with a tool call.
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: process.env.POOL_URL, apiKey: process.env.POOL_KEY, maxRetries: Number(process.env.POOL_RETRIES), timeout: 60_000 });
const tools = [{
  name: "weather",
  description: "The weather",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
}];
const messages = [{ role: "user", content: "How is the weather?" }];
const ask = { model: "claude-sonnet-5-5", max_tokens: 256, tools };

const first = await client.messages.create({ ...ask, messages });
const call = first.content.find((block) => block.type === "tool_use");
messages.push(
  { role: "assistant", content: first.content },
  { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "sunny" }] },
);
const last = await client.messages.stream({ ...ask, messages }).finalMessage();
console.log("messages:", last.content.at(-1).text);
