"""An endpoint in virtual time, scaled by the same controller that scales the embedded one."""
