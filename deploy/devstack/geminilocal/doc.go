// Package geminilocal is a local stand-in for the Gemini REST API: the wire that the google.golang.org/genai SDK speaks,
// served from memory, so that the whole system runs on a machine without a key and without a network.
//
// It is not a language model. Left alone it behaves like this, and the same input always has the same output:
//
//   - Embeddings hash the words, word pairs and letter groups of a text into a unit vector (768 dimensions, or as many as the
//     request asks for), so that a question lies near the passage that answers it.
//   - Offered the tool search_documents, it calls it with the user's last question. Once the results are in the conversation
//     it quotes the one to three sentences that overlap most with the question, each followed by its passage's citation mark,
//     or says that nothing was found.
//   - Asked for JSON, it returns a value that fits the schema.
//   - Otherwise it echoes.
//
// Every response says what it is: modelVersion ends in "-local-standin", every answer in prose ends with a sentence that
// says so, and every HTTP response carries the header X-Standin.
//
// It is as strict as the strictest model behind the real wire, so that what works here works there: a function response must
// answer exactly the calls of the turn before it, with their ids, and a function call must come back with the thought
// signature it was given.
//
// # Scripts
//
// With [Config].Admin set, tests can make it misbehave: POST /admin/script queues [Step] values, which say word for word what
// to answer, how slowly, and how to fail. Each API key is a session with its own queue, counters and recorded requests (the
// header X-Standin-Session overrides the key), so parallel tests never see each other. The admin endpoints take the same
// header x-goog-api-key as the API itself:
//
//	POST   /admin/script   {"steps": [Step, ...]} appended to the queue
//	DELETE /admin/script   empties the queue
//	GET    /admin/calls    Calls: counters, pending steps and the latest requests
//	DELETE /admin/calls    forgets counters and requests
//	PUT    /admin/latency  {"call": "100ms", "chunk": "5ms"} for this session, instead of the server's
package geminilocal
