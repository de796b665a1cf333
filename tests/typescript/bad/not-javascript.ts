# A Python file
def main():
    return "x"
