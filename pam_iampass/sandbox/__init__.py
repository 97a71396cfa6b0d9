"""A local IAMPASS for trials and tests: the whole wire protocol over https, strictly.

    with Sandbox(auto="approve") as sandbox:
        sandbox.add_user("alice")
        ...

It needs aiohttp and trustme (the extra ``sandbox``).
"""
