"""What schemathesis has to be told of this API."""
import schemathesis


@schemathesis.serializer("application/wasm")
def component(ctx, value):
    """Bytes that are no component: what an upload of anything else is answered."""
    return value if isinstance(value, bytes) else str(value).encode()


# What the script has made, so that requests lead somewhere; deletes are left to names that may not be there.
THERE = {
    "connection": "acme",
    "integration": "demo",
    "model": "Issue",
    "script": "github-issues",
    "variant": "base",
    "version": 1,
}


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Every other request goes to something that is there."""
    if not path_parameters or context.operation.method.upper() == "DELETE":
        return path_parameters
    if sum(map(ord, repr(path_parameters))) % 2:
        return path_parameters
    there = dict(THERE)
    if "/actions/" in context.operation.path:
        there["script"] = "create-issue"
    return {name: there.get(name, value) for name, value in path_parameters.items()}
