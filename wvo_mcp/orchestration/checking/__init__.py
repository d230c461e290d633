"""Work is looked at by somebody who did not write it: who is asked, what is answered, what follows."""
