"""`fo1 serve`: the verbs and OpenAI's chat completions over HTTP. Needs the extra `serve`.

    request --gate--> body --app--> Job --Answerer.submit--> Answered --app--> JSON
                                     |                          ^
                                     v                          |
                             waiting (bounded) --batch--> Worker (one thread, scene cache)

`Answerer` is the seam: whatever takes a `Job` and gives what it brought may stand behind the same API.
"""
