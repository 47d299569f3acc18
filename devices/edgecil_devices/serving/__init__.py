"""`serve`: a page and an address that classify pictures over HTTP, with the standard library alone.

    verb.py           the verb, for both command lines: options, signals, exit code
    server.py         connections: limits on their number, their time and their memory; a clean stop
    messages.py       HTTP/1.1 as bytes: heads, bodies, answers
    multipart.py      the pictures in a form
    guard.py          which names we answer to, and whose pages may post
    token.py          who may teach
    routes.py         what an answer to a request is made by
    application.py    what each address answers
    teaching.py       those with which the page teaches
    classifying.py    the bounded queue before the classifier
    metrics.py        what has been counted and timed
    page/             the page itself

Why asyncio's streams and none of the small servers: beside a loaded bundle of ten blocks, a POST of
3 kB answered with 300 bytes, four connections kept alive, one core (Python 3.11, AMD EPYC):

    server                             import    memory    CPU a request    requests/s    to install
    asyncio, a reader of its own        16 ms    2.4 MB            27 us        20,700             -
    http.server, a thread each          50 ms    3.2 MB            92 us        10,500             -
    waitress 3.0                        75 ms    0.8 MB           156 us         3,800        0.4 MB
    cheroot 11.1                        49 ms    4.2 MB           194 us         4,700        2.7 MB
    uvicorn 0.54 with h11              432 ms    5.3 MB           134 us         3,500        2.3 MB
    aiohttp 3.14                       401 ms   11.6 MB            85 us         6,800         12 MB

A slow client costs it a coroutine and not a thread, and one deadline bounds a whole request, where
the socket timeouts of the threaded servers begin anew with every byte.
"""
