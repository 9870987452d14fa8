// JS openai: a plain Responses turn and a streamed chat turn, each with a tool call.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.POOL_URL + "/v1", apiKey: process.env.POOL_KEY, maxRetries: Number(process.env.POOL_RETRIES), timeout: 60_000 });
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const model = "gpt-5.5";

{
  const tools = [{ type: "function", name: "weather", parameters: city }];
  const input = [{ role: "user", content: "How is the weather?" }];
  const first = await client.responses.create({ model, input, tools });
  const call = first.output.find((item) => item.type === "function_call");
  input.push(call, { type: "function_call_output", call_id: call.call_id, output: "sunny" });
  const last = await client.responses.create({ model, input, tools });
  console.log("responses:", last.output_text);
}
{
  const tools = [{ type: "function", function: { name: "weather", parameters: city } }];
  const messages = [{ role: "user", content: "How is the weather?" }];
  const first = await client.chat.completions.stream({ model, messages, tools }).finalMessage();
  messages.push(first, { role: "tool", tool_call_id: first.tool_calls[0].id, content: "sunny" });
  let text = "";
  const stream = await client.chat.completions.create({
    model, messages, tools, stream: true, stream_options: { include_usage: true },
  });
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  console.log("chat:", text);
}
